import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, it } from 'vitest';

// `tsc` says whether there is an error under a directive; this says whether it reads as it should.
const here = dirname(fileURLToPath(import.meta.url));
const files = readdirSync(here).filter((name) => name.endsWith('.test-d.ts')).map((name) => join(here, name));
const directive = /\/\/ @ts-expect-error (.*)$/;

/** The compiler lists the members of a union in whatever order it met them. */
const ordered = (message: string): string => message.replace(/"[^"]*"(?: \| "[^"]*")+/g, (union) => union.split(' | ').sort().join(' | '));

/** Whether a message says the words in their order. `…` stands for what changes with every reward that is added. */
function says(message: string, words: string): boolean {
  let at = 0;
  return words.split('…').every((part) => {
    const found = message.indexOf(part.trim(), at);
    at = found + part.trim().length;
    return found >= 0;
  });
}

/** The messages of the compiler, by file and line, with the directives that would hide them taken out. */
function messages(): Map<string, string[]> {
  const { config } = ts.readConfigFile(join(here, '../../../../tsconfig.base.json'), (path) => ts.sys.readFile(path)) as { config: { compilerOptions: object } };
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, here);
  const host = ts.createCompilerHost({ ...options, noEmit: true });
  const read = host.getSourceFile.bind(host);
  host.getSourceFile = (name, ...rest) => (files.includes(name) ? ts.createSourceFile(name, readFileSync(name, 'utf8').replaceAll('@ts-expect-error', 'expected:'), ts.ScriptTarget.ES2022, true) : read(name, ...rest));
  const program = ts.createProgram(files, { ...options, noEmit: true }, host);
  const found = new Map<string, string[]>();
  for (const file of files) {
    const source = program.getSourceFile(file)!;
    for (const { start, messageText } of program.getSemanticDiagnostics(source)) {
      const key = `${file}:${source.getLineAndCharacterOfPosition(start!).line}`;
      found.set(key, [...(found.get(key) ?? []), ts.flattenDiagnosticMessageText(messageText, '\n')]);
    }
  }
  return found;
}

it('the compiler says in words what is wrong, and says it of nothing else', { timeout: 300_000 }, () => {
  const found = messages();
  expect(files.length).toBeGreaterThan(2);
  const wrong: string[] = [];
  let expected = 0;
  for (const file of files) {
    for (const [line, text] of readFileSync(file, 'utf8').split('\n').entries()) {
      const words = directive.exec(text)?.[1];
      if (words === undefined) continue;
      expected++;
      const key = `${file}:${line + 1}`; // the line under it
      const said = found.get(key) ?? [];
      found.delete(key);
      if (said.length !== 1 || !says(ordered(said[0]), ordered(words))) wrong.push(`${file}:${line + 2} should say\n  ${words}\nand says\n  ${said.join('\n  ')}`);
    }
  }
  expect(wrong.join('\n\n')).toBe('');
  expect(expected).toBeGreaterThan(20);
  expect([...found]).toEqual([]);
});
