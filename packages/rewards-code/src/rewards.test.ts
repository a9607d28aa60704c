import type { Reward, RewardFunction, RewardSample } from '@espalier/spec';
import { afterAll, describe, expect, it } from 'vitest';
import { codeRewardByName, codeRewardNames, compilesReward, openSandbox, readTests, runTests, testsReward } from './index';

const sandbox = openSandbox({ workers: 2 });
afterAll(() => sandbox.close());

const sample = (completion: string, row: Record<string, unknown> = {}): RewardSample => ({ prompt: 'p', completion, completionTokens: new Int32Array(3), finishReason: 'stop', group: 'g', row });
const scoreOne = async (reward: RewardFunction, completion: string, row: Record<string, unknown>) => (await reward.score([sample(completion, row)], { step: 0 }))[0];
const total = (reward: Reward | null) => (reward === null || typeof reward === 'number' ? reward : reward.total);
const ts = (code: string) => `Here:\n\`\`\`ts\n${code}\n\`\`\``;

describe('compilesReward', () => {
  const reward = compilesReward({ sandbox });
  const of = async (code: string, row: Record<string, unknown> = {}) => total(await scoreOne(reward, ts(code), row));
  const add = { entry: 'add', signature: 'function add(a: number, b: number): number' };
  it('1 for what compiles, 0 for what does not', async () => {
    expect(await of('const a: number = 1;')).toBe(1);
    expect(await of('const a: number = "1";')).toBe(0);
    expect(await of('const a = ;')).toBe(0);
    expect(await of('export const f = (a) => a;')).toBe(0); // strict
    expect(total(await scoreOne(compilesReward({ sandbox, strict: false }), ts('export const f = (a) => a;'), {}))).toBe(1);
    expect(await of('const m = new Map<string, Set<bigint>>(); console.log([...m.keys()].at(-1), structuredClone(m));')).toBe(1);
    expect(await of('document.title = "x"; process.exit();')).toBe(0); // there is no browser and no Node
  });
  it('checks the signature that the row wants', async () => {
    for (const code of ['function add(a: number, b: number) { return a + b; }', 'export const add = (a: number, b: number) => a + b;', 'export default function add(a: number, b: number): number { return a * b; }', 'const sum = (a: number, b?: number): number => a + (b ?? 0);\nexport { sum as add };']) expect(await of(code, add), code).toBe(1);
    for (const code of ['function add(a: string, b: string) { return a + b; }', 'const add = (a: number, b: number) => `${a + b}`;', 'const add = 1;', 'const sum = (a: number, b: number) => a + b;', 'const add: any = 1;', 'declare function add(a: number, b: number): number;', 'type add = (a: number, b: number) => number;', 'function add(a: number, b: number): number;', 'declare namespace add { }']) expect(await of(code, add), code).toBe(0);
  });
  it('checks against declarations of the row, which the program cannot change', async () => {
    const row = { declarations: 'interface Point { x: number; y: number }\ndeclare const origin: Point;', entry: 'f', signature: 'function f(p: Point): number' };
    expect(await of('function f(p: Point) { return p.x - origin.x; }', row)).toBe(1);
    expect(await of('function f(p: Point) { return p.z; }', row)).toBe(0);
    expect(await of('interface Point { z: number }\nfunction f(p: Point) { return p.z; }', row)).toBe(0); // a Point of its own is another type
    expect(await of('function f(p: Point) { return p.x; }', { entry: 'f' })).toBe(0);
    expect(await of('function f(p: Point) { return p.x; }', row)).toBe(1); // nothing is left of what others declared
  });
  it('what a program declares globally is gone with it', async () => {
    expect(await of('export {};\ndeclare global { interface Array<T> { everything: T } }\n[1].everything;')).toBe(1);
    expect(await of('[1].everything;')).toBe(0);
  });
  it('goes on from the signature', async () => {
    expect(total(await scoreOne(reward, '  return a + b;\n}\n\nmore of it {', add))).toBe(1);
    expect(total(await scoreOne(reward, '  return a + c;\n}', add))).toBe(0);
  });
  it('says what was wrong', async () => {
    expect(await scoreOne(reward, ts('const a: number =\n  "1";'), {})).toEqual({ total: 0, note: "line 1: Type 'string' is not assignable to type 'number'." });
    expect(await scoreOne(reward, '', {})).toEqual({ total: 0, note: 'there is no program' });
    expect(await scoreOne(reward, ts('// nothing'), {})).toEqual({ total: 0, note: 'there is no program' });
  });
  it('null where a row cannot be read, or is in another language', async () => {
    for (const row of [{ declarations: 1 }, { signature: [] }, { entry: 'a b' }, { entry: {} }, { language: 'python' }]) expect(await scoreOne(reward, ts('let a;'), row)).toBe(null);
  });
});

describe('testsReward', () => {
  const reward = testsReward({ sandbox });
  const row = { entry: 'add', tests: [{ args: [2, 3], expected: 5 }, { args: [2, 2], expected: 4 }], hiddenTests: [{ args: [-1, 1], expected: 0 }, { args: [0.1, 0.2], expected: 0.3 }] };
  it('1 for all tests, the share of them as a component', async () => {
    expect(await scoreOne(reward, ts('const add = (a: number, b: number) => a + b;'), row)).toEqual({ total: 1, components: { pass_rate: 1 } });
    expect(await scoreOne(reward, ts('const add = (a: number, b: number) => a * b;'), row)).toEqual({ total: 0, components: { pass_rate: 0.25 }, note: 'test 1: another result' });
    expect(await scoreOne(testsReward({ sandbox, partial: true }), ts('const add = (a: number, b: number) => a * b;'), row)).toMatchObject({ total: 0.25 });
    expect(await scoreOne(testsReward({ sandbox, column: 'tests' }), ts('const add = (a, b) => b === 2 ? 4 : 5;'), row)).toMatchObject({ total: 1 });
    expect(await scoreOne(reward, ts('const add = (a, b) => b === 2 ? 4 : 5;'), row)).toMatchObject({ total: 0, components: { pass_rate: 0.5 } });
  });
  it('0 for what throws, loops, is no program or lacks the function', async () => {
    for (const [code, note] of [['const add = () => { throw new TypeError("no"); };', 'test 1: TypeError: no'], ['const add = (a', /^line 1: /], ['const sum = 1;', 'add is not a function'], ['throw "early";', 'early']] as const) {
      const verdict = await scoreOne(reward, ts(code), row);
      expect(verdict).toMatchObject({ total: 0, components: { pass_rate: 0 }, note: typeof note === 'string' ? note : expect.stringMatching(note) });
    }
    expect(await scoreOne(testsReward({ sandbox, timeLimit: 100 }), ts('const add = (a, b) => { if (a === -1) for (;;); return a + b; };'), row)).toEqual({ total: 0, components: { pass_rate: 0.5 }, note: 'stopped: time' });
    expect(await scoreOne(reward, 'I cannot.\n```python\nx\n```', row)).toEqual({ total: 0, components: { pass_rate: 0 }, note: 'there is no program' });
  });
  it('null for rows without tests that can be read', async () => {
    for (const bad of [{}, { entry: 'add' }, { tests: [] , entry: 'add' }, { tests: 'add(1, 2) === 3', entry: 'add' }, { tests: [{ args: [1] }], entry: 'add' }, { tests: [{ args: [1], expected: 1 }] }, { tests: [{ args: [1], expected: 1 }], entry: 'a; b' }, { ...row, hiddenTests: 5 }, { ...row, language: 'cobol' }]) expect(await scoreOne(reward, ts('const add = 1'), bad)).toBe(null);
  });
  it('programs that read and print', async () => {
    const sums = { tests: [{ stdin: '1 2\n', stdout: '3\n' }, { input: '5 5', output: '10' }] };
    expect(await scoreOne(reward, ts('const [a, b] = readline()!.split(" ").map(Number);\nconsole.log(a + b);'), sums)).toMatchObject({ total: 1 });
    expect(await scoreOne(reward, ts('import { readFileSync } from "node:fs";\nlet [a, b] = readFileSync(0, "utf8").trim().split(" ");\nprint(+a + +b + "  \\n\\n");'), sums)).toMatchObject({ total: 1 });
    expect(await scoreOne(reward, ts('print(3);'), sums)).toMatchObject({ total: 0, components: { pass_rate: 0.5 } });
  });
  it('Python', async () => {
    const python = testsReward({ sandbox, language: 'python' });
    expect(await scoreOne(python, '```python\ndef add(a, b):\n    return a + b\n```', row)).toMatchObject({ total: 1 });
    expect(await scoreOne(reward, '```python\ndef add(a, b):\n    return a - b\n```', { ...row, language: 'python' })).toMatchObject({ total: 0, components: { pass_rate: 0 } });
    expect(await scoreOne(python, 'print(sum(map(int, input().split())))', { tests: { inputs: ['1 2', '3 4'], outputs: ['3', '7'] } })).toMatchObject({ total: 1 });
  });
  it('asynchronous functions, and values that JSON has not', async () => {
    const values = { entry: 'f', tests: [{ args: [undefined, NaN, 5n, [-0]], expected: new Map<unknown, unknown>([['set', new Set([1n, undefined])], [2, [NaN, -0, Infinity]]]) }] };
    expect(await scoreOne(reward, ts('async function f(a, b, c, [d]) { await new Promise((done) => setTimeout(done, 1e6)); return new Map([["set", new Set([c - 4n, a])], [2, [b, d, Infinity]]]); }'), values)).toMatchObject({ total: 1 });
  });
  it('the same program is run once, and each call has its own abort', async () => {
    const before = sandbox.workers().quickjs.started;
    const program = ts('const add = (a, b) => { let s = 0; for (let i = 0; i < 3e5; i++) s += i; return a + b; };');
    const many = await reward.score(Array.from({ length: 40 }, () => sample(program, row)), { step: 0 });
    expect(many.map(total)).toEqual(new Array(40).fill(1));
    expect(sandbox.workers().quickjs.started).toBe(before);
    const controller = new AbortController();
    const other = ts('const add = (a, b) => a + b; // another');
    const stopped = reward.score([sample(other, row)], { step: 0, signal: controller.signal });
    const kept = reward.score([sample(other, row)], { step: 0 });
    controller.abort();
    await expect(stopped).rejects.toMatchObject({ code: 'aborted' });
    expect((await kept).map(total)).toEqual([1]);
  });
});

describe('readTests', () => {
  it.each([
    ['calls', [{ args: [1], expected: 2, tolerance: 0.1 }], { tests: [{ args: [1], expected: 2, tolerance: 0.1 }] }],
    ['calls by other names', [{ input: [1], output: null }], { tests: [{ args: [1], expected: null }] }],
    ['JSON', '[{"stdin":"1","stdout":"2"}]', { tests: [{ stdin: '1', stdout: '2' }] }],
    ['lists side by side', { inputs: [[1], [2]], outputs: [1, 2], fn_name: 'f' }, { tests: [{ args: [1], expected: 1 }, { args: [2], expected: 2 }], entry: 'f' }],
    ['lists of texts', '{"inputs":["1"],"outputs":["2"]}', { tests: [{ stdin: '1', stdout: '2' }] }],
  ])('%s', (_, value, expected) => expect(readTests(value)).toEqual(expected));
  it.each([[null], [[]], [{}], [5], ['['], ['"text"'], [[{ args: 1, expected: 1 }]], [[{ args: [1], expected: 1 }, {}]], [{ inputs: [1], outputs: [] }], [[{ stdin: 1, stdout: '' }]]])('%j cannot be read', (value) => expect(readTests(value)).toBe(null));
  it('no test passes a program that was not reached', async () => expect(await runTests('for (;;);', [{ args: [], expected: undefined }], { sandbox, entry: 'f', timeLimit: 50 })).toEqual({ passed: [false], passRate: 0, note: 'stopped: time', limit: 'time' }));
});

describe('codeRewardByName', () => {
  it('makes every one of them', () => expect(codeRewardNames.map((name) => codeRewardByName(name).name)).toEqual(['compiles', 'tests']));
  it('reads options from text and snake_case', () => {
    expect(codeRewardByName('tests', { time_limit: '500', partial: 'true', language: 'python', name: 'py' }).name).toBe('py');
    expect(() => codeRewardByName('tests', { timeLimit: '-1' })).toThrow('`timeLimit` is -1');
    expect(() => codeRewardByName('tests', { time_limit: 'soon' })).toThrow('`timeLimit` is NaN');
    expect(() => codeRewardByName('tests', { memory_limit: 4096 })).toThrow('at most 1024');
    expect(() => codeRewardByName('compiles', { strict: 'maybe' })).toThrow('true or false');
    expect(() => codeRewardByName('compiles', { strickt: 'true' })).toThrow('has no option `strickt`');
    expect(() => codeRewardByName('tests', { language: 'cobol' })).toThrow('typescript, javascript or python');
    expect(() => codeRewardByName('toString')).toThrow('there is no reward function "toString"');
  });
});
