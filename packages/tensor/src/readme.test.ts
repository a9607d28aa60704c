import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import * as tensor from './index';

it("the README's example does what it says", async () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const code = /```ts\n([\s\S]*?)```/.exec(readme)![1];
  const names = /import \{(.*?)\}/.exec(code)![1].trim();
  const lines: unknown[][] = [];
  const body = code.replace(/^import.*$/m, '');
  const run = new Function('tensor', 'console', `return (async () => { const { ${names} } = tensor; ${body} })()`) as (t: typeof tensor, c: { log(...x: unknown[]): void }) => Promise<void>;
  await run(tensor, { log: (...line) => lines.push(line.map((x) => (x instanceof Float32Array ? [...x] : x))) });
  expect(tensor.backendNames).toContain(lines[0][0]);
  expect(lines.slice(1)).toEqual([[-2], [true, [1, -1, 1, -1]]]);
});
