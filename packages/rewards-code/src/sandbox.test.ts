import { afterAll, describe, expect, it } from 'vitest';
import { openSandbox } from './index';

const sandbox = openSandbox({ workers: 1 });
afterAll(() => sandbox.close());

const call = (code: string, ...calls: string[]) => sandbox.run(code, { entry: 'f', calls: calls.length > 0 ? calls : ['[]'] });

describe('the sandbox', () => {
  it('nothing of a program is left for the next', async () => {
    const look = 'const f = () => [globalThis.left, [].left, Math.max(1, 2), JSON.stringify([1]), Object.getOwnPropertyNames(globalThis).length, Math.random(), setTimeout(() => 0, 1)];';
    const before = await call(look);
    expect(before.results).toHaveLength(1);
    for (const spoil of ['globalThis.left = 1; Array.prototype.left = 2; Math.max = () => 0; JSON.stringify = () => "x"; const f = () => { setInterval(() => {}, 1); Math.random(); return 1; };', 'const kept: string[] = []; const f = () => { for (let i = 0; i < 2e4; i++) kept.push("x".repeat(100) + i); return kept.length; };', 'const f = () => { throw new Error("out"); };']) {
      await call(spoil);
      expect(await call(look)).toEqual(before);
    }
  });
  it('memory that grew for one program is not there for the next', async () => {
    const grow = await sandbox.run('const f = () => { const a: unknown[] = []; for (let i = 0; i < 4e5; i++) a.push({ i }); return a.length; };', { entry: 'f', calls: ['[]'], memoryLimit: 128, timeLimit: 20_000 });
    expect(grow.results).toEqual([{ value: 400_000 }]);
    expect((await call('const f = () => 1;')).results).toEqual([{ value: 1 }]);
  });
  it('calls share what the program keeps, and no more', async () => {
    expect((await call('let n = 0; export function f(by: number) { return (n += by); }', '[1]', '[2]', '["x"]')).results).toEqual([{ value: 1 }, { value: 3 }, { value: '3x' }]);
  });
  it('finds the function however it is given', async () => {
    for (const code of ['function f() { return 1; }', 'export default function () { return 1; }', 'module.exports = { f: () => 1 };', 'module.exports = () => 1;', 'exports.f = () => 1;', 'var f = async () => 1;', 'const g = () => 1; export { g as f };', 'enum E { A = 1 } namespace N { export const f = () => E.A; } const { f } = N;']) expect((await call(code)).results, code).toEqual([{ value: 1 }]);
  });
  it('tells what is printed from what is given', async () => {
    expect(await call('const f = () => { console.log("a", 1, { b: [2] }, null, undefined, () => 1); console.error("e"); return 2; };')).toEqual({ results: [{ value: 2 }], printed: 'a 1 {"b":[2]} null undefined [function]\ne\n' });
  });
  it('refuses a program that is too long, and checks none', async () => {
    const long = `const f = () => 1; // ${'x'.repeat(200_000)}`;
    expect(await call(long)).toEqual({ results: [], printed: '', error: 'the program is longer than 200000 characters' });
    expect(await sandbox.check(long)).toMatchObject({ compiles: false, problems: [{ line: 0 }] });
  });
  it('is closed for good', async () => {
    const other = openSandbox({ workers: 1 });
    await other.close();
    await expect(other.run('1')).rejects.toMatchObject({ code: 'closed' });
  });
});
