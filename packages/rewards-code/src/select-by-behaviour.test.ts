import { afterAll, describe, expect, it } from 'vitest';
import { generateInputs, openSandbox, selectByBehaviour } from './index';

const sandbox = openSandbox({ workers: 2 });
afterAll(() => sandbox.close());

describe('generateInputs', () => {
  const examples = [{ args: [3, 'text', [1, 2], { a: true, b: null }], expected: 0 }];
  it('makes arguments of the same types, the same for the same seed', () => {
    const inputs = generateInputs(examples, { count: 30, seed: 5 });
    expect(inputs).toHaveLength(30);
    expect(inputs).toEqual(generateInputs(examples, { count: 30, seed: 5 }));
    expect(inputs).not.toEqual(generateInputs(examples, { count: 30, seed: 6 }));
    for (const [n, s, l, o] of inputs) expect([Number.isInteger(n), typeof s, Array.isArray(l) && l.every(Number.isInteger), Object.keys(o as object)]).toEqual([true, 'string', true, ['a', 'b']]);
    expect(new Set(inputs.map((input) => JSON.stringify(input))).size).toBeGreaterThan(20);
  });
  it('there is nothing to change where nothing is called', () => expect(generateInputs([{ stdin: 'a', stdout: 'b' }])).toEqual([]));
});

describe('selectByBehaviour', () => {
  const examples = [{ args: [2, 2], expected: 4 }];
  const programs = [
    'const f = (a: number, b: number) => a * b;', // passes the example, wrong
    'const f = (a: number, b: number) => a + b;', // right
    'const f = (a: number, b: number) => a - b;', // fails
    'function f(a: number, b: number) { return b + a; }', // right
    'const f = () => 4;', // passes, wrong
    'const f = (a: number, b: number) => { for (;;); };', // fails
    'const f = (a: number, b: number) => { let s = a; for (let i = 0; i < Math.abs(b); i++) s += Math.sign(b); return s; };', // right
    'const f = (a: number, b: number) => { if (a !== b) throw new Error("?"); return a + b; };', // passes, wrong
  ];
  it('filters by the examples, clusters by what programs do, takes the largest first', async () => {
    const { passing, clusters, selected } = await selectByBehaviour(programs, { examples, entry: 'f', k: 3, sandbox, timeLimit: 200 });
    expect(passing).toEqual([0, 1, 3, 4, 6, 7]);
    expect(clusters).toEqual([[1, 3, 6], [0], [4], [7]]);
    expect(selected).toEqual([1, 0, 4]);
  });
  it('gives the rest of the clusters in turns', async () => {
    const { selected } = await selectByBehaviour(programs, { examples, entry: 'f', k: 10, inputs: [[1, 5]], sandbox, timeLimit: 200 });
    expect(selected).toEqual([1, 0, 4, 7, 3, 6]);
  });
  it('programs that read and print', async () => {
    const echo = ['print(readline());', 'const s = readline(); print(s);', 'print("a");', 'print(1);'];
    const { clusters } = await selectByBehaviour(echo, { examples: [{ stdin: 'a', stdout: 'a' }], inputs: ['b', 'c'], sandbox });
    expect(clusters).toEqual([[0, 1], [2]]);
  });
  it('the order of an object\'s parts is no behaviour', async () => {
    const made = ['const f = (n: number) => ({ a: n, b: [new Set([n, 1])] });', 'const f = (n: number) => ({ b: [new Set([1, n])], a: n });', 'const f = (n: number) => ({ a: n, b: [new Set([n])] });'];
    const { clusters } = await selectByBehaviour(made, { examples: [{ args: [1], expected: { a: 1, b: [new Set([1])] } }], entry: 'f', sandbox });
    expect(clusters).toEqual([[0, 1], [2]]);
  });
  it('nothing passes, nothing is chosen', async () => expect(await selectByBehaviour(['const f = 1;'], { examples, entry: 'f', sandbox })).toEqual({ selected: [], passing: [], clusters: [] }));
  it('refuses what it cannot do', async () => {
    await expect(selectByBehaviour([], { examples: [], sandbox })).rejects.toThrow('no example tests');
    await expect(selectByBehaviour([], { examples, sandbox })).rejects.toThrow('`entry` is missing');
    await expect(selectByBehaviour([], { examples, entry: 'f', k: 0, sandbox })).rejects.toThrow('`k` is 0');
  });
});
