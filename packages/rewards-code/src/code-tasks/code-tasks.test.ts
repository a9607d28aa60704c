import { afterAll, describe, expect, it } from 'vitest';
import { codeFamilyNames, codeTasks, openSandbox, runTests } from '../index';

const sandbox = openSandbox({ workers: 2 });
afterAll(() => sandbox.close());

describe('codeTasks', () => {
  it('has many families, and one task of each by default', () => {
    expect(codeFamilyNames.length).toBeGreaterThanOrEqual(60);
    expect(new Set(codeFamilyNames).size).toBe(codeFamilyNames.length);
    expect(codeTasks().map(({ family }) => family).sort()).toEqual([...codeFamilyNames].sort());
  });
  it('is the same for the same seed, and another for another', () => {
    expect(codeTasks({ seed: 3, count: 100 })).toEqual(codeTasks({ seed: 3, count: 100 }));
    expect(codeTasks({ seed: 3 })).not.toEqual(codeTasks({ seed: 4 }));
    expect(codeTasks({ count: 10 })).toEqual(codeTasks().slice(0, 10));
  });
  it('held-out tasks are of other functions', () => {
    const signatures = (split: 'train' | 'test') => new Set([1, 2, 3].flatMap((seed) => codeTasks({ seed, split, count: 300 }).map(({ family, signature }) => `${family} ${signature}`)));
    const train = signatures('train');
    const shared = [...signatures('test')].filter((one) => train.has(one));
    expect(shared).toEqual([]);
  });
  it('shows its examples and hides the rest', () => {
    const task = codeTasks({ seed: 1 }).find(({ family }) => family === 'greet')!;
    expect(task.prompt).toBe(`// Returns "Hello, " followed by the name and "!".\n${task.tests.map(({ args: [name], expected }) => `// ${task.entry}('${String(name)}') returns '${String(expected)}'\n`).join('')}function ${task.entry}(name: string): string {\n`);
    const shown = task.tests.map(({ args }) => JSON.stringify(args));
    for (const { args } of task.hiddenTests) expect(shown).not.toContain(JSON.stringify(args));
    expect(codeTasks({ seed: 1, style: 'chat', count: 1 })[0].prompt).toMatch(/^Write a TypeScript function[^]*```ts\n[^]*in one code block\.$/);
  });
  it('refuses what it does not know', () => {
    expect(() => codeTasks({ count: -1 })).toThrow('`count` is -1');
    expect(() => codeTasks({ split: 'dev' as 'test' })).toThrow('train or test');
    expect(() => codeTasks({ style: 'prose' as 'chat' })).toThrow('completion or chat');
  });
  it.each(['train', 'test'] as const)('every solution of %s compiles and passes, and the empty one does not', async (split) => {
    const tasks = codeTasks({ seed: 7, split, count: codeFamilyNames.length });
    await Promise.all(
      tasks.map(async ({ solution, declarations, signature, entry, tests, hiddenTests, family }) => {
        expect(tests.length, family).toBeGreaterThan(0);
        expect(hiddenTests.length, family).toBeGreaterThan(0);
        expect(await sandbox.check(solution, { declarations, signature, entry }), `${family}: ${solution}`).toEqual({ compiles: true, problems: [] });
        expect((await runTests(solution, [...tests, ...hiddenTests], { sandbox, entry })).passRate, `${family}: ${solution}`).toBe(1);
      }),
    );
    const constants = await Promise.all(tasks.map(({ signature, entry, tests, hiddenTests }) => runTests(`${signature} { return ${JSON.stringify(tests[0].expected)} as never; }`, [...tests, ...hiddenTests], { sandbox, entry })));
    expect(constants.filter(({ passRate }) => passRate === 1).length).toBeLessThan(0.02 * tasks.length); // one answer for everything is hardly ever right
  });
});
