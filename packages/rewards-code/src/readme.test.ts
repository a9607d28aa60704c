import { readFileSync } from 'node:fs';
import { ModuleKind, ScriptTarget, transpile } from 'typescript';
import { expect, it } from 'vitest';

/** Runs the first example of the README; what it prints must be what its comments say. */
it('the example of the README runs', async () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const code = /```ts\n([\s\S]*?)\n```/.exec(readme)![1].replaceAll('\u200b', '');
  const expected = [...code.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm)].map((match) => match[1]);
  const printed: string[] = [];
  const log = (...values: unknown[]) => void printed.push(values.map((v) => (typeof v === 'string' ? v : JSON.stringify(v))).join(' '));
  const body = transpile(code, { module: ModuleKind.ESNext, target: ScriptTarget.ES2022 }).replace(/^import (\{[^}]*\}) from '([^']+)';$/gm, (_, names: string, from: string) => `const ${names} = await load('${from}');`);
  const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor as new (...args: string[]) => (...args: unknown[]) => Promise<void>;
  await new AsyncFunction('load', 'console', body)((name: string) => import(/* @vite-ignore */ name), { log });
  expect(expected.length).toBeGreaterThan(0);
  expect(printed).toEqual(expected);
});
