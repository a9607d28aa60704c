// What is looked at in a plugin that was frozen: that it is what was frozen, and that TypeScript still takes it.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';

/** `digest  path` of every file, in the form of sha256sum. */
export function digests(dir: string): string {
  const files = ['NAMES', ...['src', 'compiled'].flatMap((folder) => readdirSync(join(dir, folder)).sort().map((name) => `${folder}/${name}`))];
  return files.map((file) => `${createHash('sha256').update(readFileSync(join(dir, file))).digest('hex')}  ${file}\n`).join('');
}

/**
 * What TypeScript says of the files, read as somebody's own project reads them: strict, with Node's resolution, the published declarations of @espalier/spec, and no
 * declaration left unchecked.
 */
export function typeErrors(files: readonly string[], more: ts.CompilerOptions = {}): string[] {
  const program = ts.createProgram(files, {
    strict: true, noEmit: true, skipLibCheck: false, target: ts.ScriptTarget.ES2022, lib: ['lib.es2023.d.ts'], module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext, types: ['node'], verbatimModuleSyntax: true, ...more,
  });
  return ts.getPreEmitDiagnostics(program).map(({ file, start, messageText }) => `${file && start !== undefined ? `${file.fileName}:${file.getLineAndCharacterOfPosition(start).line + 1}: ` : ''}${ts.flattenDiagnosticMessageText(messageText, '\n')}`);
}
