import { codeTasks, sharedSandbox } from '@espalier/rewards-code';
import type { Reward } from '@espalier/spec';
import { afterAll, describe, expect, it } from 'vitest';
import { checkRewards, resolveRewards } from './rewards';
import { openRows } from './rows';
import { datasetOf } from '@espalier/data';
import { rewardOfRows } from './task-reward';

afterAll(() => sharedSandbox().close());

const [task] = codeTasks({ seed: 2, count: 1 });
const sample = (completion: string) => ({ prompt: task.prompt, completion, completionTokens: new Int32Array(4), finishReason: 'stop' as const, group: 'g', row: task });
const total = (reward: Reward | null) => (typeof reward === 'object' && reward !== null ? reward.total : reward);
const body = task.solution.slice(task.signature.length + 3); // what follows the prompt

describe('rewards on programs, by name', () => {
  it('are resolved with their weights and options, and score', async () => {
    const rewards = await resolveRewards(['compiles=0.2', 'tests:time_limit=1000,partial=true', { name: 'tests', options: { column: 'hiddenTests', name: 'hidden' } }]);
    expect(rewards.map(({ reward, weight }) => [reward.name, weight])).toEqual([['compiles', 0.2], ['tests', 1], ['hidden', 1]]);
    for (const { reward } of rewards) expect((await reward.score([sample(body), sample('  return missing;\n}')], { step: 0 })).map(total)).toEqual([1, 0]);
  });
  it('slips are found before anything runs', () => {
    expect(() => checkRewards(['compile'])).toThrow('did you mean compiles?');
    expect(() => checkRewards(['tests:timelimit=5'])).toThrow('has no option `timelimit`');
    expect(() => checkRewards(['tests:time_limit=0'])).toThrow('`timeLimit` is 0');
    expect(() => checkRewards(['compiles', 'tests=0.5'])).not.toThrow();
  });
  it('code tasks are opened as the procedural tasks are', async () => {
    const rows = await openRows('code:seed=2,size=3,split=held_out,style=chat');
    expect([rows.size, rows.row(1)]).toEqual([3, codeTasks({ seed: 2, count: 3, split: 'test', style: 'chat' })[1]]);
    await expect(openRows('code:difficulty=2')).rejects.toThrow('no option `difficulty`');
    await expect(openRows('code:split=test')).rejects.toThrow('train or held_out');
    await expect(openRows('code:size=1.5')).rejects.toThrow('`count` is 1.5');
  });
  it('code tasks name their reward themselves', async () => expect((await rewardOfRows(datasetOf([task], 'code')))?.name).toBe('tests'));
});
