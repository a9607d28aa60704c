import { join } from 'node:path';
import ts from 'typescript';
import { codeBlocks, pages, root, type CodeBlock } from './code-blocks';

/** A complaint of the compiler, at its line in the page. */
export interface Complaint {
  file: string;
  line: number;
  message: string;
}

const typescript = ['ts', 'typescript', 'tsx', 'mts'];

/**
 * Compiles every TypeScript block of the pages as a module of its own, strictly, with the options of the repository. A block needs what it uses: imports, or
 * declarations in a comment before it (`<!-- with: … -->`). Parameters without a type are allowed: pages are read by people who write JavaScript too.
 */
export function compileBlocks(files: readonly string[] = pages()): { blocks: number; complaints: Complaint[] } {
  const blocks = files.flatMap((file) => codeBlocks(file)).filter(({ language }) => typescript.includes(language));
  const { options } = ts.parseJsonConfigFileContent(ts.readConfigFile(join(root, 'tsconfig.base.json'), ts.sys.readFile).config, ts.sys, root);
  const sources = new Map<string, { block: CodeBlock; text: string; above: number }>();
  for (const block of blocks) {
    const hidden = block.hidden === '' ? '' : `${block.hidden}\n`;
    const name = join(root, `${block.file.replaceAll('/', '-')}-${block.line}.block.ts`); // beside package.json, so that packages are found as a user finds them
    sources.set(name, { block, text: `${hidden}${block.code}\nexport {};\n`, above: hidden.split('\n').length - 1 });
  }
  const settings: ts.CompilerOptions = { ...options, noEmit: true, noImplicitAny: false, noUnusedLocals: false, noUnusedParameters: false, isolatedModules: false, paths: { 'espalier-plugin-readability': [join(root, 'examples/third-party-plugin/src/index.ts')] } };
  const host = ts.createCompilerHost(settings);
  const read = host.getSourceFile.bind(host);
  host.fileExists = (path) => sources.has(path) || ts.sys.fileExists(path);
  host.readFile = (path) => sources.get(path)?.text ?? ts.sys.readFile(path);
  host.getSourceFile = (path, version, ...rest) => {
    const source = sources.get(path);
    return source ? ts.createSourceFile(path, source.text, version, true) : read(path, version, ...rest);
  };
  const program = ts.createProgram([...sources.keys(), join(root, 'tools/docs/plugins.d.ts')], settings, host);
  const complaints = [...sources].flatMap(([name, { block, above }]) => {
    const file = program.getSourceFile(name)!;
    return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)].map((diagnostic): Complaint => {
      const at = file.getLineAndCharacterOfPosition(diagnostic.start ?? 0).line - above;
      return { file: block.file, line: block.line + 1 + Math.max(at, -1), message: ts.flattenDiagnosticMessageText(diagnostic.messageText, ' ') };
    });
  });
  return { blocks: blocks.length, complaints };
}
