import { defineTaskFamily } from '@espalier/data';
import { definePlugin } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { openTasks } from './evaluate-tasks';
import { pluginDataset } from './plugin-datasets';
import { createRegistry } from './registry';
import { openRows } from './rows';
import { readPipelineConfig } from './yaml-pipeline';

const doubles = defineTaskFamily({
  name: 'doubles', summary: 'twice a number', levels: ['to 9', 'to 99', 'to 999', 'to 9999', 'to 99999'], template: '{question} Reply with the number only.', reward: 'numeric',
  draw: (random, difficulty) => { const n = random.int(0, 10 ** difficulty - 1); return { question: `What is twice ${n}?`, answer: String(2 * n) }; },
});
const plugin = definePlugin({
  name: 'espalier-plugin-doubles',
  datasets: {
    doubles: doubles.dataset,
    counted: async function* (options: { rows?: number; kinds?: string[] }) { for (let i = 0; i < (options.rows ?? 3); i++) yield { prompt: `${i} ${options.kinds?.join() ?? ''}` }; } as (options: { rows?: number; kinds?: string[] }) => AsyncIterable<Record<string, unknown>>,
  },
});
const registry = createRegistry([plugin]);

describe('datasets of plugins', () => {
  it('are opened by name, with options and parts', async () => {
    const rows = await openRows('doubles:difficulty=3,seed=2,split=train,size=30', { registry });
    expect([rows.size, rows.row(4)]).toEqual([30, doubles.dataset({ difficulty: 3, seed: 2, split: 'train', size: 30 }).row(4)]);
    expect((await openRows('doubles:difficulty=2', { registry, limit: 5 })).size).toBe(5);
    expect((await openRows('doubles', { registry, task: { difficulty: 4, size: 8 } })).row(0)['difficulty']).toBe(4);
    const counted = await openRows('counted:rows=4,kinds=a|b', { registry });
    expect([counted.size, counted.row(1)]).toEqual([4, { prompt: '1 a,b' }]);
    const [a, b] = await Promise.all(['a', 'b'].map((take) => openRows(`counted:rows=10#split=a:0.5,b:0.5;take=${take}`, { registry })));
    expect([a.size, b.size]).toEqual([5, 5]);
    expect(await pluginDataset('arithmetic', registry)).toBe(null);
    await expect(openRows('doubles', {})).rejects.toThrow('neither a file nor a task');
    await expect(openRows('doubles', { registry })).rejects.toThrow('has no end');
    await expect(openRows('counted:rows=0', { registry })).rejects.toThrow('has no rows');
    await expect(openRows('counted:rows', { registry })).rejects.toThrow('is no option');
    await expect(openRows('doubles:colour=red', { registry })).rejects.toThrow('colour');
  });
  it('are tasks of an evaluation, scored by what their rows name', async () => {
    const [task] = await openTasks(['doubles:difficulty=2,split=held_out,size=6'], { registry });
    expect([task.name, task.rows.size, task.rewards.map(({ reward }) => reward.name)]).toEqual(['doubles', 6, ['numeric']]);
    const [sums] = await openTasks(['arithmetic:size=6'], { registry });
    expect(sums.rewards.map(({ reward }) => reward.name)).toEqual(['numeric']);
  });
  it('stand in a YAML pipeline', async () => {
    const source = { path: 'pipeline.yaml', baseDir: '.', loadPlugin: async () => plugin };
    const document = (dataset: string) => ({ plugins: ['espalier-plugin-doubles'], stages: [{ model: 'm.gguf' }, { rpt: { dataset, reward: ['task'], max_steps: 1 } }] });
    await expect(readPipelineConfig(document('doubles:difficulty=2,size=64'), source)).resolves.toMatchObject({ plugins: [plugin] });
    await expect(readPipelineConfig(document('triples:difficulty=2'), source)).rejects.toThrow('neither a file nor a task');
  });
});
