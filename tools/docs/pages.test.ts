import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { codeBlocks, pages, root } from './code-blocks';
import { compileBlocks } from './compile-blocks';

const blocks = pages().flatMap((file) => codeBlocks(file));

describe('the code in docs/ and the READMEs', () => {
  it('compiles', () => {
    const { blocks: count, complaints } = compileBlocks();
    expect(count).toBeGreaterThan(40);
    expect(complaints.map(({ file, line, message }) => `${file}:${line}: ${message}`)).toEqual([]);
  });

  it('that does not compile is found, at its line', () => {
    const bad = codeBlocks('x.md', 'one\n\n<!-- with:\nconst a = 1;\n-->\n\n```ts run\nconst b: string = a;\n```\n');
    expect(bad).toEqual([{ file: 'x.md', line: 7, language: 'ts', marks: ['run'], code: 'const b: string = a;\n', hidden: 'const a = 1;' }]);
  });

  it('YAML and JSON parse', () => {
    const found = blocks.filter(({ language }) => ['yaml', 'yml', 'json'].includes(language));
    expect(found.length).toBeGreaterThan(3);
    for (const { file, line, language, code } of found) expect(() => (language === 'json' ? JSON.parse(code) : parse(code)) as unknown, `${file}:${line}`).not.toThrow();
  });
});

it('links between pages lead somewhere', () => {
  const dead: string[] = [];
  for (const file of pages()) {
    const text = readFileSync(join(root, file), 'utf8').replace(/```[\s\S]*?```/g, '');
    for (const [, target] of text.matchAll(/\]\(([^)\s#]+)(?:#[^)]*)?\)/g)) {
      if (/^[a-z]+:/.test(target) || target.startsWith('#')) continue;
      if (!existsSync(join(root, dirname(file), target))) dead.push(`${file}: ${target}`);
    }
  }
  expect(dead).toEqual([]);
});

it('troubleshooting.md has every code of EspalierError', () => {
  const source = readFileSync(join(root, 'packages/spec/src/errors.ts'), 'utf8');
  const codes = [...source.slice(source.indexOf('export type ErrorCode'), source.indexOf('const mark')).matchAll(/^ {2}\| '(\w+)'/gm)].map(([, code]) => code);
  expect(codes.length).toBeGreaterThan(10);
  const page = readFileSync(join(root, 'docs/troubleshooting.md'), 'utf8');
  const headings = [...page.matchAll(/^## `(\w+)`/gm)].map(([, code]) => code);
  expect(headings).toEqual(codes);
});
