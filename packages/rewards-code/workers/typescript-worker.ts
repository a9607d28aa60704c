import type ts from 'typescript';
import type { CheckReply, CheckRequest, CodeProblem, TranspileReply, TranspileRequest } from '../src/protocol';
import { cpuMs, serve } from './boot';
import { sandboxDeclarations } from './sandbox-declarations';

/** The text of TypeScript's compiler and of its library files, which the owner hands over: this process can open no file. */
declare const parts: { typescript: Uint8Array; libraries: Readonly<Record<string, string>>; evaluate(text: string, name: string, names: readonly string[]): (...values: unknown[]) => void };

/** The compiler is loaded without `require` and `process`: it then has no file system of its own at all. */
function loadCompiler(): typeof ts {
  const module = { exports: {} as typeof ts };
  parts.evaluate(Buffer.from(parts.typescript).toString('utf8'), 'typescript.js', ['module', 'exports', 'require', 'process'])(module, module.exports, undefined, undefined);
  return module.exports;
}

const compiler = loadCompiler();
const target = compiler.ScriptTarget.ES2022;
const libraryFolder = '/lib/';
const libraryName = 'lib.es2023.d.ts';
const names = { program: '/program.ts', declarations: '/declarations.d.ts', signature: '/signature.d.ts', sandbox: '/sandbox.d.ts' };

/** Library files are parsed and bound once, and serve every check. */
const parsed = new Map<string, ts.SourceFile>();
function libraryFile(path: string): ts.SourceFile | undefined {
  const known = parsed.get(path);
  if (known) return known;
  const text = path === names.sandbox ? sandboxDeclarations : path.startsWith(libraryFolder) ? parts.libraries[path.slice(libraryFolder.length)] : undefined;
  if (text === undefined) return undefined;
  const file = compiler.createSourceFile(path, text, target, false);
  parsed.set(path, file);
  return file;
}

const optionsOf = (strict: boolean): ts.CompilerOptions => ({
  target,
  module: compiler.ModuleKind.ESNext,
  moduleResolution: compiler.ModuleResolutionKind.Bundler,
  moduleDetection: compiler.ModuleDetectionKind.Force, // what the program declares is its own, and changes nothing global
  lib: [libraryName],
  types: [],
  strict,
  noEmit: true,
  skipLibCheck: true,
  noErrorTruncation: false,
});

/** `// @ts-ignore` and its like silence what is to be judged: they do nothing here. */
type WithDirectives = ts.SourceFile & { commentDirectives?: unknown; checkJsDirective?: unknown };

let last: { strict: boolean; program: ts.Program } | undefined;

function check({ code, declarations, signature, entry, strict, timeMs }: CheckRequest): CheckReply {
  const deadline = cpuMs() + timeMs;
  const texts = new Map([[names.program, code], [names.declarations, declarations], [names.signature, signature === '' ? 'export {};' : `export declare ${signature};`]]);
  const own = new Map<string, WithDirectives>();
  const ownFile = (path: string, options: ts.ScriptTarget | ts.CreateSourceFileOptions): ts.SourceFile | undefined => {
    const text = texts.get(path);
    if (text === undefined || own.has(path)) return own.get(path);
    const file: WithDirectives = compiler.createSourceFile(path, text, options, true);
    file.commentDirectives = undefined;
    file.checkJsDirective = undefined;
    own.set(path, file);
    return file;
  };

  const options = optionsOf(strict);
  const host: ts.CompilerHost = {
    getSourceFile: (path, options) => ownFile(path, options) ?? libraryFile(path),
    getDefaultLibFileName: () => libraryFolder + libraryName,
    getDefaultLibLocation: () => libraryFolder.slice(0, -1),
    getCurrentDirectory: () => '/',
    getCanonicalFileName: (path) => path,
    useCaseSensitiveFileNames: () => true,
    getNewLine: () => '\n',
    fileExists: (path) => texts.has(path) || libraryFile(path) !== undefined,
    readFile: () => undefined,
    writeFile: () => undefined,
    directoryExists: () => false,
    getDirectories: () => [],
  };
  const program = compiler.createProgram({ rootNames: [names.program, names.declarations, names.signature, names.sandbox], options, host, oldProgram: last?.strict === strict ? last.program : undefined });
  last = { strict, program };
  const file = own.get(names.program)!;
  const token: ts.CancellationToken = {
    isCancellationRequested: () => cpuMs() > deadline,
    throwIfCancellationRequested() {
      if (cpuMs() > deadline) throw new compiler.OperationCanceledException();
    },
  };
  try {
    const problems: CodeProblem[] = [...program.getSyntacticDiagnostics(file, token), ...program.getSemanticDiagnostics(file, token)].map((problem) => problemOf(problem, file));
    if (problems.length === 0 && !hasStatements(file)) problems.push({ line: 0, code: 0, message: 'there is no program' });
    if (entry !== '' && problems.length === 0) problems.push(...entryProblems(program, file, own.get(names.signature)!, signature, entry));
    return { problems };
  } catch (error) {
    if (error instanceof compiler.OperationCanceledException) return { problems: [], limit: 'time' };
    if (error instanceof RangeError) return { problems: [], limit: 'stack' };
    throw error;
  }
}

const hasStatements = (file: ts.SourceFile) => file.statements.some((one) => !compiler.isEmptyStatement(one));

function problemOf({ start, code, messageText }: ts.Diagnostic, file: ts.SourceFile): CodeProblem {
  return { line: start === undefined ? 0 : file.getLineAndCharacterOfPosition(start).line + 1, code, message: compiler.flattenDiagnosticMessageText(messageText, ' ').slice(0, 300) };
}

/** What is asked of the entry: that it is there with a body, and that it can be used as the row's signature says. Symbols are compared, so that no text of the program plays a part. */
function entryProblems(program: ts.Program, file: ts.SourceFile, expectedFile: ts.SourceFile, signature: string, entry: string): CodeProblem[] {
  const checker = program.getTypeChecker();
  const whole = (message: string): CodeProblem[] => [{ line: 0, code: 0, message }];
  const { locals } = file as ts.SourceFile & { locals?: ts.SymbolTable };
  const exported = checker.getSymbolAtLocation(file)?.exports;
  const found = locals?.get(entry as ts.__String) ?? exported?.get(entry as ts.__String);
  const named = found && checker.getExportSymbolOfSymbol(found);
  const symbol = named && named.flags & compiler.SymbolFlags.Alias ? checker.getAliasedSymbol(named) : named; // `export { sum as add }`
  const isAmbient = (one: ts.Declaration) => (compiler.getCombinedModifierFlags(one) & compiler.ModifierFlags.Ambient) !== 0;
  const declared = symbol?.declarations?.filter((one) => !isAmbient(one)) ?? [];
  if (!symbol || !(symbol.flags & compiler.SymbolFlags.Value)) return whole(`it does not declare ${entry}`);
  if (declared.length === 0) return whole(`it declares ${entry} without implementing it`);
  if (signature === '') return [];
  const wanted = checker.getSymbolAtLocation(expectedFile)?.exports?.get(entry as ts.__String);
  if (!wanted) return [];
  const given = checker.getTypeOfSymbol(symbol);
  const expected = checker.getTypeOfSymbol(wanted);
  if (given.flags & compiler.TypeFlags.Any) return whole(`the type of ${entry} is any`);
  if (checker.isTypeAssignableTo(given, expected)) return [];
  return whole(`the type of ${entry} is ${checker.typeToString(given).slice(0, 200)}, where ${checker.typeToString(expected).slice(0, 200)} is wanted`);
}

function transpile({ code }: TranspileRequest): TranspileReply {
  try {
    const { outputText, diagnostics } = compiler.transpileModule(code, {
      fileName: names.program,
      reportDiagnostics: true,
      compilerOptions: { target, module: compiler.ModuleKind.CommonJS, esModuleInterop: true, removeComments: false },
    });
    return { js: outputText, problems: (diagnostics ?? []).map((one) => problemOf(one, one.file!)) };
  } catch (error) {
    if (error instanceof RangeError) return { js: '', problems: [], limit: 'stack' };
    throw error;
  }
}

// The library files are read, and the compiler is warm, before the first request waits for it.
check({ kind: 'check', code: 'export const first = [1].map(String);', declarations: '', signature: '', entry: '', strict: true, timeMs: Infinity });

serve((request) => ((request as CheckRequest | TranspileRequest).kind === 'check' ? check(request as CheckRequest) : transpile(request as TranspileRequest)));
