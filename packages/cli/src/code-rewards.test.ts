import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { complaints, espalier, fixture, onlyJson } from './testing';

const dir = mkdtempSync(join(tmpdir(), 'espalier-code-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

it('--reward compiles and --reward tests judge programs, and a slip costs a second', async () => {
  const signature = 'function same(n: number): number';
  const row = { prompt: `${signature} {\n`, entry: 'same', signature, tests: [{ args: [3], expected: 3 }] };
  const dataset = join(dir, 'tasks.jsonl');
  writeFileSync(dataset, [row, { ...row, tests: undefined }].map((one) => JSON.stringify(one)).join('\n'));
  const args = ['eval', '--model', fixture('smollm2'), '--dataset', dataset, '--max-new-tokens', '4', '--json'];
  const result = onlyJson(await espalier([...args, '--reward', 'compiles', '--reward', 'tests:time_limit=500']));
  expect(result['rewards']).toEqual({ compiles: 0, tests: 0 }); // the fixture's weights are random: it writes no programs
  expect(result['rows']).toBe(2);
  const slip = await espalier([...args, '--reward', 'tests:limit=500']);
  expect([slip.status, complaints(slip)[0]]).toEqual([2, expect.stringContaining('has no option `limit`')]);
});
