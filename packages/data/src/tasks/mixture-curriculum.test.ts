import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { checkDatasetRef, curriculum, curriculumByRef, datasetByRef, defineTaskFamily, passRateWeight, Random, taskFamilies, taskMixture, taskReward, type TaskRow } from '../index';

/** What somebody else's package may hold. */
const riddles = defineTaskFamily({
  name: 'rhyme_pairs',
  summary: 'a number and its double, in any order',
  levels: ['to 9', 'to 99', 'to 999', 'to 9999', 'to 99999'],
  template: '{question} Reply with both numbers.',
  check: (reply, row) => [...reply.matchAll(/\d+/g)].map(([n]) => n).sort().join() === row.answer,
  draw(random, difficulty) {
    const n = random.int(1, 10 ** difficulty - 1);
    return { question: `Which two numbers are ${n} and its double? $& $1`, answer: [String(n), String(2 * n)].sort().join() };
  },
});

describe('a family of somebody else', () => {
  it('is opened by name, split, mixed and drawn like the others', async () => {
    const dataset = await datasetByRef('rhyme_pairs:difficulty=3,seed=1,split=train,size=50', { families: [riddles] });
    expect([dataset.name, dataset.size]).toEqual(['rhyme_pairs (train)', 50]);
    expect((dataset.row(0) as TaskRow).prompt).toEqual([{ role: 'user', content: expect.stringContaining('double? $& $1 Reply') }]);
    expect(() => checkDatasetRef('rhyme_pairs', { families: [riddles] })).not.toThrow();
    expect(() => checkDatasetRef('rhyme_pairs')).toThrow('neither a file nor a task');
    const mixed = await datasetByRef('mixture:families=rhyme_pairs*3|chain,seed=2,size=80', { families: [riddles] });
    const counts = Array.from({ length: 80 }, (_, i) => mixed.row(i)['family']);
    expect(counts.filter((name) => name === 'rhyme_pairs').length).toBeGreaterThan(40);
    expect(new Set(counts)).toEqual(new Set(['rhyme_pairs', 'chain']));
    expect(curriculum({ families: [riddles, 'chain'], difficulties: [1] }).arms().map(({ family }) => family)).toEqual(['rhyme_pairs', 'chain']);
  });
  it('is opened from the module that exports it', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'espalier-family-'));
    onTestFinished(() => rm(dir, { recursive: true }));
    const family = (name: string) => `{ name: '${name}', summary: '', levels: ['', '', '', '', ''], options: Object.assign(Object.create(null), { shape: { difficulty: {} } }), generate: () => ({}), dataset: (options) => ({ name: '${name}', size: options.difficulty, row: (i) => ({ prompt: String(i) }), origin: () => ({}) }) }`;
    await writeFile(join(dir, 'one.mjs'), `export const family = ${family('one')};`);
    await writeFile(join(dir, 'two.mjs'), `export default [${family('one')}, ${family('two')}];`);
    await writeFile(join(dir, 'none.mjs'), 'export const family = 7;');
    await writeFile(join(dir, 'broken.mjs'), 'throw new Error("no luck");');
    const at = (name: string) => join(dir, name);
    expect((await datasetByRef(`${at('one.mjs')}:difficulty=4`)).size).toBe(4);
    expect((await datasetByRef(`${at('two.mjs')}:difficulty=3,family=two`)).name).toBe('two');
    expect(() => checkDatasetRef(`${at('one.mjs')}:difficulty=4`)).not.toThrow();
    expect(() => checkDatasetRef(`${at('missing.mjs')}:difficulty=4`)).toThrow('there is no file');
    await expect(datasetByRef(`${at('one.mjs')}:colour=4`)).rejects.toThrow('no option `colour`');
    await expect(datasetByRef(at('two.mjs'))).rejects.toThrow('names none of them');
    await expect(datasetByRef(`${at('two.mjs')}:family=three`)).rejects.toThrow('no family "three"');
    await expect(datasetByRef(at('none.mjs'))).rejects.toThrow('exports no task family');
    await expect(datasetByRef(at('broken.mjs'))).rejects.toMatchObject({ code: 'bad_data', message: expect.stringContaining('no luck') });
  });
  it('is scored by its own check', async () => {
    const row = riddles.generate(0, { difficulty: 2 });
    const sample = (completion: string, of: Record<string, unknown>) => ({ prompt: '', completion, completionTokens: new Int32Array(0), finishReason: 'stop' as const, group: 'g', row: of });
    expect(row.reward).toBeUndefined();
    expect(await taskReward([riddles]).score([sample(row.answer.replace(',', ' and '), row), sample('7 and 9', row), sample('7', { family: 'chain' })], { step: 0 })).toEqual([1, 0, null]);
    expect(() => taskReward([taskFamilies[1]])).toThrow('has no `check`');
  });
  it('is refused where it makes no sense', () => {
    const parts = { name: 'a', summary: '', levels: ['', '', '', '', ''] as const, template: '{question}', reward: 'numeric', draw: () => ({ question: 'q', answer: 'a' }) };
    expect(() => defineTaskFamily({ ...parts, name: 'a b' })).toThrow('cannot stand in a reference');
    expect(() => defineTaskFamily({ ...parts, template: 'x' })).toThrow('lacks {question}');
    expect(() => defineTaskFamily({ ...parts, check: () => true })).toThrow('both given');
    const { reward: _, ...none } = parts;
    expect(() => defineTaskFamily(none)).toThrow('nothing says whether a reply is right');
    expect(() => defineTaskFamily(parts).dataset({ size: 2 })).toThrow('not enough different problems');
    expect(() => defineTaskFamily(parts).dataset({ split: 'held_out' }).row(0)).toThrow('the split held_out'); // the one problem falls into train
  });
});

describe('taskMixture', () => {
  it('draws by weights; row i is always the same', () => {
    const mixed = taskMixture({ families: ['arithmetic*3', 'count_letters*1'], difficulty: [1, 3], seed: 5 });
    const rows = Array.from({ length: 2000 }, (_, i) => mixed.row(i) as TaskRow);
    const share = rows.filter(({ family }) => family === 'arithmetic').length / rows.length;
    expect(Math.abs(share - 0.75)).toBeLessThan(4 * Math.sqrt((0.75 * 0.25) / 2000)); // four standard deviations
    expect(rows.every(({ reward, difficulty }) => reward === 'numeric' && (difficulty === 1 || difficulty === 3))).toBe(true);
    expect(taskMixture({ families: ['arithmetic*3', 'count_letters'], difficulty: [1, 3], seed: 5 }).row(1234)).toEqual(rows[1234]);
    expect(taskMixture({ families: ['arithmetic*3', 'count_letters'], difficulty: [1, 3], seed: 6 }).row(1234)).not.toEqual(rows[1234]);
  });
  it('its parts share no problem', async () => {
    const [train, held] = [await datasetByRef('mixture:difficulty=1|3,size=400,split=train,seed=1'), await datasetByRef('mixture:difficulty=1|3,size=150,split=held_out,seed=9')];
    const prompts = new Set(Array.from({ length: 400 }, (_, i) => JSON.stringify(train.row(i)['prompt'])));
    expect(prompts.size).toBe(400);
    expect(Array.from({ length: 150 }, (_, i) => JSON.stringify(held.row(i)['prompt'])).filter((prompt) => prompts.has(prompt))).toEqual([]);
  });
  it('says what would do', async () => {
    expect(() => taskMixture({ families: ['chains'] })).toThrow('no task family "chains"');
    expect(() => taskMixture({ families: ['chain*0'] })).toThrow('the weight of "chain" is "0"');
    expect(() => taskMixture({ difficulty: 7 })).toThrow('`difficulty`');
    expect(() => taskMixture({ families: ['arithmetic'], difficulty: 1, size: 200 })).toThrow('not enough different problems of arithmetic');
    await expect(datasetByRef('mixture:family=chain')).rejects.toThrow('no option `family`');
  });
});

describe('curriculum', () => {
  it('is named where rows are, and is no rows', async () => {
    const named = curriculumByRef('curriculum:families=arithmetic*2|chain,difficulties=1|2,seed=4,low=0.3');
    const made = curriculum({ families: ['arithmetic*2', 'chain'], difficulties: [1, 2], seed: 4, low: 0.3 });
    expect(named.next(30)).toEqual(made.next(30));
    expect(curriculumByRef('curriculum').arms()).toHaveLength(taskFamilies.length * 5);
    expect(() => curriculumByRef('curriculum:familys=chain')).toThrow('no option `familys`');
    expect(() => curriculumByRef('curriculum:difficulties=7')).toThrow('`difficulties.0`');
    expect(() => curriculumByRef('curriculum:families=chains')).toThrow('no task family "chains"');
    await expect(datasetByRef('curriculum:families=chain')).rejects.toMatchObject({ code: 'unsupported', message: expect.stringContaining('draws by what completions earn') as string });
  });
  /** A policy that always solves the easy ones, never the hard ones, and those between by chance. */
  const policy = { 1: 1, 2: 0.95, 3: 0.5, 4: 0.03, 5: 0 } as Record<number, number>;
  const train = (rounds: number, seed: number) => {
    const drawn = curriculum({ families: ['arithmetic', 'chain'], seed });
    const random = new Random(seed, 1);
    for (let round = 0; round < rounds; round++) for (const row of drawn.next(8)) for (let k = 0; k < 4; k++) drawn.observe(row, Number(random.int(0, 9999) / 10_000 < policy[row.difficulty]));
    return drawn;
  };
  it('begins evenly, and comes to draw where the policy passes sometimes', () => {
    const before = curriculum({ families: ['arithmetic', 'chain'] }).arms();
    expect(before.every(({ share, passRate }) => Math.abs(share - 0.1) < 1e-12 && passRate === 0.5)).toBe(true);
    const arms = train(120, 3).arms();
    const middle = arms.filter(({ difficulty }) => difficulty === 3).reduce((sum, { share }) => sum + share, 0);
    const [always, never] = [1, 5].map((level) => arms.filter(({ difficulty }) => difficulty === level).reduce((sum, { share }) => sum + share, 0));
    expect(middle).toBeGreaterThan(0.5);
    expect(always).toBeLessThan(0.2);
    expect(never).toBeLessThan(0.2);
    expect(never).toBeGreaterThan(0); // noticed when that changes
    for (const { passRate, difficulty, observed } of arms) if (observed > 100) expect(Math.abs(passRate - policy[difficulty])).toBeLessThan(0.35);
  });
  it('goes on from its state as if it had never stopped', () => {
    const one = train(10, 4);
    const other = curriculum({ families: ['arithmetic', 'chain'], seed: 4 });
    other.restore(JSON.parse(JSON.stringify(one.state())));
    for (let i = 0; i < 5; i++) {
      const [a, b] = [one.next(6), other.next(6)];
      expect(a).toEqual(b);
      a.forEach((row, k) => [one, other].forEach((c) => c.observe(row, k % 2)));
    }
    expect(one.state()).toEqual(other.state());
    expect(one.arms()).toEqual(other.arms());
  });
  it('asks nothing that is held out, and new problems of an arm each time', () => {
    const rows = curriculum({ families: ['sequences'], difficulties: [3] }).next(100);
    const family = taskFamilies.find(({ name }) => name === 'sequences')!;
    const held = new Set(Array.from({ length: 300 }, (_, i) => JSON.stringify(family.generate(i, { difficulty: 3, split: 'held_out', seed: 99 }).prompt)));
    expect(rows.filter(({ prompt }) => held.has(JSON.stringify(prompt)))).toEqual([]);
    expect(new Set(rows.map(({ prompt }) => JSON.stringify(prompt))).size).toBeGreaterThan(60);
  });
  it('null rewards are passed over, others cut to 0 and 1', () => {
    const one = curriculum({ families: ['chain'], difficulties: [1], decay: 0 });
    const [row] = one.next(1);
    one.observe(row, null);
    expect(one.arms()[0]).toMatchObject({ observed: 0, passRate: 0.5, drawn: 1 });
    one.observe(row, 7);
    expect(one.arms()[0].passRate).toBe(0.75);
    one.observe(row, -7);
    expect(one.arms()[0].passRate).toBe(0.25);
  });
  it('weights are full from low to high and fall to the floor', () => {
    expect([0, 0.1, 0.2, 0.5, 0.8, 0.9, 1].map((rate) => Number(passRateWeight(rate, { floor: 0.1 }).toFixed(12)))).toEqual([0.1, 0.55, 1, 1, 1, 0.55, 0.1]);
  });
  it('refuses what makes no sense', () => {
    const one = curriculum({ families: ['chain'], difficulties: [1] });
    expect(() => one.observe({ family: 'chain', difficulty: 2 }, 1)).toThrow('none of its');
    expect(() => one.observe(one.next(1)[0], NaN)).toThrow('NaN');
    for (const state of [null, {}, { draws: -1, arms: {} }, { draws: 0, arms: { 'chain/2': { sum: 0, mass: 0, observed: 0, drawn: 0 } } }, { draws: 0, arms: { 'chain/1': { sum: NaN, mass: 0, observed: 0, drawn: 0 } } }]) expect(() => one.restore(state)).toThrow('no state of a curriculum');
    expect(() => curriculum({ low: 0.9 })).toThrow('`low`');
    expect(() => curriculum({ decay: 1 })).toThrow('`decay`');
    expect(() => curriculum({ floor: 0 })).toThrow('`floor`');
    expect(() => curriculum({ difficulties: [6] })).toThrow('`difficulty`');
    expect(() => curriculum({ families: ['chain', 'chain'] })).toThrow('twice');
    expect(() => curriculum({ difficulties: [] })).toThrow('nothing to draw from');
  });
});
