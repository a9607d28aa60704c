import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { rewardFunctionChecks, rewardFunctionSubject, runChecks } from './checks';

const blocks = [...readFileSync(new URL('../README.md', import.meta.url), 'utf8').matchAll(/```ts\n([\s\S]*?)```/g)].map((match) => match[1]);
const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor as new (...args: string[]) => (...args: unknown[]) => Promise<unknown>;
const runnable = (code: string) => code.replace(/^import (\{[^}]*\}) from '([^']+)';$/gm, (_, names: string, from: string) => `const ${names} = await load('${from}');`);
const load = (name: string) => import(/* @vite-ignore */ name) as Promise<unknown>;

// The first example registers its suite here, as it would in a test file; its checks run as tests.
const polite = await new AsyncFunction('load', `${runnable(blocks[0])}\nreturn polite;`)(load);

it('the example without vitest runs, and finds nothing wrong', async () => {
  const printed: string[] = [];
  await new AsyncFunction('load', 'console', 'polite', runnable(blocks.at(-1)!))(load, { log: (text: string) => printed.push(text) }, polite);
  expect(printed).toEqual([]);
  expect(Object.keys(rewardFunctionChecks).length).toBeGreaterThan(5);
  expect(await runChecks(rewardFunctionChecks, rewardFunctionSubject(polite as never))).toEqual([]);
});
