import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { insightFile, readInsight } from './insight';
import { readRun } from './read-run';
import { reportHtml } from './write-report';
import { writeFakeRun } from '../test/fake-run';

let dir: string;
beforeEach(async () => void (dir = await mkdtemp(join(tmpdir(), 'espalier-insight-'))));
afterEach(() => rm(dir, { recursive: true, force: true }));

const sample = { prompt: '2+2=', completion: '4</script>', tokens: ['4', '</script>', ''], before: [-2, -1, -0.5], after: [-0.1, -3, -0.5], entropyBefore: [1, 1, 1], entropyAfter: [0.5, 0.5, 0.5], reward: 1, components: { numeric: 1 }, advantage: 0.5 };
const write = (value: unknown) => writeFile(join(dir, insightFile), typeof value === 'string' ? value : JSON.stringify(value));

it('is a part of the run, and of its page as text', async () => {
  await writeFakeRun(dir, { rows: 5, samples: 2 });
  expect((await readRun(dir)).insight).toBeUndefined();
  await write({ version: 1, before: 'a', after: 'b', samples: [sample] });
  const run = await readRun(dir);
  expect(run.insight).toEqual({ version: 1, before: 'a', after: 'b', samples: [sample] });
  expect(run.problems).toEqual([]);
  const html = await reportHtml(dir);
  expect(html).toContain('\\u003c/script\\u003e'); // what a model wrote ends no script
  expect(html).toContain('insight-sample');
});

it.each<[string, unknown]>([
  ['is no JSON', '{'],
  ['is of another version', { version: 2, samples: [sample] }],
  ['has no samples', { version: 1, samples: [] }],
  ['has numbers for other tokens', { version: 1, samples: [{ ...sample, before: [1] }] }],
  ['has what is no number', { version: 1, samples: [{ ...sample, after: [0, null, 1] }] }],
  ['is a list', []],
])('that %s is left out, and said', async (_, value) => {
  await write(value);
  const { insight, problem } = await readInsight(dir);
  expect(insight).toBeNull();
  expect(problem).toMatch(/^insight\.json /);
});

it('that is absent is no problem', async () => expect(await readInsight(dir)).toEqual({ insight: null, problem: null }));
