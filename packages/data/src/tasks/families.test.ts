import { describe, expect, it } from 'vitest';
import { arithmeticTask, checkRow, commonTaskOptions, datasetByRef, datasetDigest, Random, taskFamilies, tasks, type TaskRow } from '../index';
import { solvers } from './test-support';

const levels = [1, 2, 3, 4, 5];
const textOf = ({ prompt }: TaskRow) => (typeof prompt === 'string' ? prompt : prompt[0].content);

describe.each(taskFamilies.map((family) => ({ name: family.name, family })))('$name', ({ name, family }) => {
  it('a second solver, which reads the question alone, gives the same answers', () => {
    for (const difficulty of levels) {
      for (let i = 0; i < 120; i++) {
        const row = family.generate(i, { seed: 11, difficulty });
        const solved = solvers[name](textOf(row), row.answer);
        if (solved !== true && solved !== row.answer) throw new Error(`difficulty ${difficulty}, problem ${i}: ${textOf(row)} The family says ${row.answer}, the second solver ${String(solved)}`);
        expect(row.answer).not.toBe('');
      }
    }
  });

  it('rows have their columns, and follow from seed, difficulty and number', () => {
    for (const difficulty of levels) {
      const [a, b, c] = [5, 5, 6].map((seed) => Array.from({ length: 12 }, (_, i) => family.generate(i, { seed, difficulty })));
      expect(a).toEqual(b);
      expect(a).not.toEqual(c);
      expect(family.generate(7, { seed: 5, difficulty })).toEqual(a[7]);
      expect(a[0]).toMatchObject({ family: name, difficulty, reward: family.reward, prompt: [{ role: 'user', content: expect.any(String) }] });
      expect(family.generate(0, { difficulty, format: 'text', withCompletion: true })).toMatchObject({ prompt: expect.any(String), completion: family.generate(0, { difficulty }).answer });
      expect(checkRow(family.generate(0, { difficulty, withCompletion: true }), ['prompt_completion']).conversational).toBe(true);
    }
  });

  it('the problems of a difficulty vary', () => {
    for (const difficulty of levels) {
      const rows = Array.from({ length: 60 }, (_, i) => family.generate(i, { seed: 3, difficulty }));
      expect(new Set(rows.map(textOf)).size, `questions of difficulty ${difficulty}`).toBeGreaterThan(15);
      const answers = new Map<string, number>();
      for (const { answer } of rows) answers.set(answer, (answers.get(answer) ?? 0) + 1);
      expect(Math.max(...answers.values()), `the most frequent answer of difficulty ${difficulty}`).toBeLessThan(48); // always the same reply does not do
    }
  });

  it('train and held_out share no problem, whatever the seeds; the share is kept', () => {
    const random = new Random(20);
    for (const difficulty of levels) {
      const of = (split: string, seed: number) => Array.from({ length: 80 }, (_, i) => textOf(family.generate(i, { difficulty, split, seed, heldOutFraction: 0.3 })));
      const train = new Set([random.int(1, 1e6), random.int(1, 1e6)].flatMap((seed) => of('train', seed)));
      const held = of('held_out', random.int(1, 1e6));
      expect(held.filter((question) => train.has(question))).toEqual([]);
      const all = of('all', 9);
      const inTrain = all.filter((question) => train.has(question)).length;
      expect(inTrain, 'problems of both parts occur in all').toBeLessThan(all.length);
    }
  });

  it('its dataset by reference is the same', async () => {
    const dataset = await datasetByRef(`${name}:difficulty=3,seed=4,split=train,size=20`);
    expect([dataset.name, dataset.size]).toEqual([`${name} (train)`, 20]);
    expect(dataset.row(3)).toEqual(family.dataset({ difficulty: 3, seed: 4, split: 'train', size: 20 }).row(3));
    const rows: unknown[] = [];
    for await (const row of family.dataset({ difficulty: 3, seed: 4, split: 'train', size: 20 })) rows.push(row);
    expect(rows).toEqual(Array.from({ length: 20 }, (_, i) => dataset.row(i)));
    expect(new Set(rows.map((row) => JSON.stringify(row))).size).toBe(20);
    expect(Object.hasOwn(tasks, name)).toBe(true);
  });

  it('refuses wrong options', () => {
    expect(() => family.dataset({ difficulty: 6 })).toThrow('`difficulty`');
    expect(() => family.dataset({ colour: 1 })).toThrow('colour');
    expect(() => family.dataset({ template: 'none' })).toThrow('`template`');
  });
});

it('the rows of arithmetic are as they always were', async () => {
  const plain = arithmeticTask({ difficulty: 3, seed: 2 });
  const dataset = await datasetByRef('arithmetic:difficulty=3,seed=2');
  expect(dataset.row(5)).toEqual(plain.row(5));
  expect(Object.keys(dataset.row(5))).toEqual(['prompt', 'answer', 'expression']);
  expect(JSON.stringify(dataset.row(5))).toBe(JSON.stringify(plain.row(5)));
  expect(dataset.row(5)['reward']).toBe('numeric'); // said, not written
  expect(await datasetDigest(await datasetByRef('arithmetic:size=20'))).toEqual(await datasetDigest(arithmeticTask({ size: 20 })));
});

it('every family says what its difficulties mean', () => {
  for (const { levels: said, summary } of taskFamilies) expect([said.length, new Set(said).size > 1, summary.length > 10]).toEqual([5, true, true]);
  expect(taskFamilies.length).toBeGreaterThanOrEqual(12);
  expect(Object.keys(commonTaskOptions.shape)).toContain('split');
});
