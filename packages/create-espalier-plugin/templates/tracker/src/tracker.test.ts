import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeTracker } from '@espalier/testkit';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readLines, writeLine } from './csv.js';
import { __camelName__Tracker } from './tracker.js';

/** Records in their order: neighbouring lines of one step and kind are one record. */
async function read(outputDir: string): Promise<{ step: number; values: Record<string, number> }[]> {
  const records = new Map<string, { step: number; values: Record<string, number> }>();
  for (const [step, epoch, kind, metric, value] of readLines(await readFile(join(outputDir, 'metrics.csv'), 'utf8')).slice(1)) {
    const key = [step, epoch, kind].join();
    if (!records.has(key)) records.set(key, { step: Number(step), values: {} });
    records.get(key)!.values[metric] = Number(value);
  }
  return [...records.values()];
}

describeTracker(() => __camelName__Tracker(), { read, failing: () => ({ tracker: __camelName__Tracker({ file: 'no/such/folder/metrics.csv' }) }) });

describe('__camelName__Tracker', () => {
  let dir: string;
  beforeEach(async () => void (dir = await mkdtemp(join(tmpdir(), '__name__-'))));
  afterEach(() => rm(dir, { recursive: true }));

  it('drops what is done again when a run goes on', async () => {
    for (const [from, loss] of [[0, 1], [2, 5]] as const) {
      const tracker = __camelName__Tracker();
      await tracker.start?.({ name: 'run', outputDir: dir, config: {}, totalSteps: 4, step: from });
      for (let step = from + 1; step <= 4; step++) await tracker.log({ step, epoch: 0, kind: 'train', metrics: { loss } });
      await tracker.end?.({ step: 4 });
    }
    expect((await read(dir)).map(({ step, values }) => [step, values.loss])).toEqual([[1, 1], [2, 1], [3, 5], [4, 5]]);
  });

  it('says where it cannot write', async () => {
    await expect(__camelName__Tracker({ file: 'no/such/folder/m.csv' }).start?.({ name: 'run', outputDir: dir, config: {}, totalSteps: 1, step: 0 })).rejects.toMatchObject({ code: 'io', message: expect.stringContaining('m.csv') as string });
  });
});

it('quotes what needs it', () => {
  const cells = ['1', 'a,b', 'say "hi"', 'two\nlines', ''];
  expect(writeLine(cells)).toBe('1,"a,b","say ""hi""","two\nlines",\n');
  expect(readLines(`${writeLine(cells)}${writeLine(['x'])}cut,o`)).toEqual([cells, ['x']]);
});
