import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { writeFakeRun } from '../test/fake-run';

/** Runs the first example of the README in a folder with a run; what it prints must be what its comments say. */
it('the example of the README runs', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'espalier-report-readme-'));
  try {
    await writeFakeRun(join(dir, 'runs', 'sums'));
    const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8');
    const code = /```ts\n([\s\S]*?)```/.exec(readme)![1];
    const expected = [...code.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm)].map((match) => match[1]);
    const printed: string[] = [];
    const log = (...values: unknown[]) => void printed.push(values.map((v) => (typeof v === 'string' ? v : JSON.stringify(v))).join(' '));
    const body = code.replace(/^import (\{[^}]*\}) from '([^']+)';$/gm, (_, names: string, from: string) => `const ${names} = await load('${from}');`).replaceAll("'runs/sums'", JSON.stringify(join(dir, 'runs', 'sums')));
    const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor as new (...args: string[]) => (...args: unknown[]) => Promise<void>;
    await new AsyncFunction('load', 'console', body)((name: string) => import(/* @vite-ignore */ name), { log });
    expect(expected.length).toBeGreaterThan(0);
    expect(printed).toEqual(expected);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});
