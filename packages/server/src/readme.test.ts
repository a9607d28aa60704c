import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { fixture } from './testing';

/** Runs the example of the README on a tiny model; what it prints must be what its comment says. */
it('the example of the README runs', async () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const code = /```ts\n([\s\S]*?)```/.exec(readme)![1];
  const expected = [...code.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm)].map((match) => match[1]);
  const printed: string[] = [];
  const log = (...values: unknown[]) => void printed.push(values.map(String).join(' '));
  const body = code.replace(/^import (\{[^}]*\}) from '([^']+)';$/gm, (_, names: string, from: string) => `const ${names} = await load('${from}');`);
  const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor as new (...args: string[]) => (...args: unknown[]) => Promise<void>;
  await new AsyncFunction('load', 'console', 'MODEL', body)((name: string) => (name === '@espalier/server' ? import('./index') : import(/* @vite-ignore */ name)), { log }, fixture());
  expect(expected.length).toBeGreaterThan(0);
  expect(printed).toEqual(expected);
});
