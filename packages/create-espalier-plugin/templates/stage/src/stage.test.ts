import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RowsHandle } from '@espalier/spec';
import { describeStage } from '@espalier/testkit';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { __camelName__Stage } from './stage.js';

async function write(dir: string, ...lines: string[]): Promise<RowsHandle> {
  const path = join(dir, 'given.jsonl');
  await writeFile(path, lines.map((line) => `${line}\n`).join(''));
  return { kind: 'rows', path, digest: 'of the test', count: lines.length };
}
const row = (prompt: string, answer: number) => JSON.stringify({ prompt, answer });

describeStage(() => __camelName__Stage(), { input: async (dir) => ({ rows: await write(dir, row('a', 1), row('b', 2), row('a', 3), row('c', 4)) }), interruptAfter: 2 });

describe('__camelName__Stage', () => {
  let dir: string;
  beforeEach(async () => void (dir = await mkdtemp(join(tmpdir(), '__name__-'))));
  afterEach(() => rm(dir, { recursive: true }));
  const run = (rows: RowsHandle, column?: string) => __camelName__Stage(column === undefined ? {} : { column }).run({ rows }, { dir, seed: 1, resume: false, report: () => undefined });

  it('keeps the first of the rows with the same prompt', async () => {
    const { rows } = await run(await write(dir, row('a', 1), row('b', 2), '', row('a', 3)));
    expect(rows).toMatchObject({ kind: 'rows', count: 2, path: join(dir, 'rows.jsonl') });
    expect(await readFile(rows.path, 'utf8')).toBe(`${row('a', 1)}\n${row('b', 2)}\n`);
  });

  it('compares by another column', async () => {
    expect((await run(await write(dir, row('a', 1), row('a', 2), row('b', 2)), 'answer')).rows.count).toBe(2);
  });

  it('says which line is wrong', async () => {
    await expect(run(await write(dir, row('a', 1), '{"prompt":'))).rejects.toMatchObject({ code: 'bad_data', message: expect.stringContaining('given.jsonl:2') as string });
    await expect(run(await write(dir, '[1]'))).rejects.toMatchObject({ code: 'bad_data' });
  });
});
