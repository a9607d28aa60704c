import { appendFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeFakePipeline, writeFakeRun } from '../test/fake-run';
import { decodeFloat32, decodeFloat64 } from './column-codec';
import { readReport } from './read-report';
import { readRun } from './read-run';
import { SampleWindow } from './sample-window';

let dir: string;
beforeEach(async () => void (dir = await mkdtemp(join(tmpdir(), 'espalier-report-'))));
afterEach(() => rm(dir, { recursive: true, force: true }));

const series = (run: Awaited<ReturnType<typeof readRun>>, name: string) => {
  const found = run.curves.series.find((entry) => entry.name === name)!;
  return { steps: [...decodeFloat64(run.curves.axes[found.axis])], values: [...decodeFloat32(found.values)] };
};

describe("a trainer's run", () => {
  it('is read with its curves, samples, notices and configuration', async () => {
    await writeFakeRun(dir);
    const { kind, stages } = await readReport(dir);
    expect([kind, stages.length, stages[0].status]).toEqual(['run', 1, 'done']);
    const { run } = stages[0];
    expect(run).toMatchObject({ step: 300, totalSteps: 300, backend: 'native', problems: [], config: { name: 'rpt' } });
    expect(run.ended! - run.started!).toBe(14 * 60_000);
    expect(run.curves.rows).toBe(315);
    expect(run.curves.axes).toHaveLength(2); // training and evaluation
    expect(series(run, 'eval_accuracy').steps).toEqual(Array.from({ length: 15 }, (_, i) => 20 * (i + 1)));
    expect(run.notices.map(({ name, level, step }) => [name, level, step])).toEqual([['loss_near_zero', 'note', 1], ['length_climbing', 'warning', 216], ['groups_without_variance', 'warning', 270]]);
    expect(run.samples).toMatchObject({ total: 64, finish: expect.arrayContaining(['stop']) as unknown });
    expect(run.samples!.prompts.length).toBeLessThanOrEqual(50); // shared
    const { tokenLengths, completion } = run.samples!;
    expect(tokenLengths[0]!.reduce((a, b) => a + b, 0)).toBe(completion[0].length);
  });

  it('stands beside its control, each with what was measured at the end', async () => {
    await writeFakeRun(dir);
    await mkdir(join(dir, 'control'));
    await writeFakeRun(join(dir, 'control'));
    const both = (run: unknown, control: unknown) => ({ run, control });
    await writeFile(join(dir, 'control.json'), JSON.stringify({ kind: 'ce', folder: 'control', compute: both({ forward: 10 }, { forward: 12 }), steps: both(300, 40), held: both({ accuracy: 0.5 }, { accuracy: 0.25, reward: null }) }));
    const { kind, stages } = await readReport(dir);
    expect([kind, stages.map(({ name, folder, metrics }) => [name, folder, metrics])]).toEqual([
      'pipeline',
      [['run', '', { eval_accuracy: 0.5, 'tokens/forward': 10, steps: 300 }], ['control', 'control', { eval_accuracy: 0.25, 'tokens/forward': 12, steps: 40 }]],
    ]);
    await writeFile(join(dir, 'control.json'), '{"folder":"../elsewhere"}');
    expect((await readReport(dir)).kind).toBe('run');
  });

  it('of which a line was torn off, or damaged, is read as far as it goes', async () => {
    await writeFile(join(dir, 'metrics.jsonl'), '{"step":1,"loss":2}\n{"step":2,"loss":null,"kl":0.5}\n{"step":3,"loss":1}\n{"step":4,"lo');
    expect(await readRun(dir)).toMatchObject({ step: 3, problems: [] });
    expect(series(await readRun(dir), 'loss')).toEqual({ steps: [1, 2, 3], values: [2, NaN, 1] });
    await writeFile(join(dir, 'metrics.jsonl'), '{"step":1,"loss":2}\n\0\0\0\n[1]\n\n{"step":5,"loss":"NaN"}\n{"loss":3}\n');
    const damaged = await readRun(dir);
    expect(damaged.problems).toEqual(['metrics.jsonl: 2 lines are not a JSON object (the first is line 2)']);
    expect(series(damaged, 'loss').values).toEqual([2, 3]);
    await writeFile(join(dir, 'samples.jsonl'), '{"prompt":7,"completion":null,"reward":"x","rewards":3}\n{"completion":"whole"}\n{"comp');
    expect((await readRun(dir)).samples).toMatchObject({ total: 2, completion: ['null', 'whole'], reward: [null, null], prompts: ['7', ''] });
    await writeFile(join(dir, 'config.json'), '{"name":');
    expect((await readRun(dir)).problems).toContain('config.json is not JSON');
  });

  it('that was resumed tells a notice once, and steps stand in order', async () => {
    await writeFile(join(dir, 'log.jsonl'), [{ event: 'start', step: 0 }, { event: 'warning', name: 'a', message: 'm', step: 4 }, { event: 'failed', message: 'full disk' }, { event: 'resume', step: 2 }, { event: 'warning', name: 'a', message: 'm', step: 4 }].map((line) => `${JSON.stringify(line)}\n`).join(''));
    await writeFile(join(dir, 'metrics.jsonl'), '{"step":2,"loss":1}\n{"step":1,"loss":2}\n');
    const run = await readRun(dir);
    expect(run).toMatchObject({ status: 'running', message: null });
    expect(run.notices).toHaveLength(1);
    expect(series(run, 'loss').steps).toEqual([1, 2]);
    await appendFile(join(dir, 'log.jsonl'), '{"event":"aborted","message":"stopped after step 2"}\n');
    expect(await readRun(dir)).toMatchObject({ status: 'stopped', message: 'stopped after step 2' });
  });

  it('a folder without one is refused', async () => {
    await expect(readReport(dir)).rejects.toMatchObject({ code: 'not_found', message: expect.stringContaining('holds no run') as string });
    await expect(readReport(join(dir, 'absent'))).rejects.toMatchObject({ code: 'not_found' });
    await writeFile(join(dir, 'config.json'), '{"model_type":"llama"}'); // a model is no run
    await expect(readReport(dir)).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe("a pipeline's run", () => {
  it('is one page over its stages, those of a branch included', async () => {
    await writeFakePipeline(dir);
    const { kind, seed, stages } = await readReport(dir);
    expect([kind, seed]).toEqual(['pipeline', 42]);
    expect(stages.map(({ name, folder }) => [name, folder])).toEqual([['model', '01-model'], ['sft', '02-sft'], ['rpt', '03-rpt'], ['ppo', '04-ppo'], ['ppo/ppo', join('04-ppo', '01-ppo')], ['evaluate', '05-evaluate']]);
    expect(stages.map(({ run }) => run.curves.rows)).toEqual([0, 120, 210, 0, 147, 0]);
    expect(stages[5].run.samples?.finish[0]).toBe('stop');
  });

  it('reads nothing outside its folder, and says how a stage stopped', async () => {
    const stage = (folder: string) => ({ name: folder, folder, status: 'running', metrics: {}, seconds: 1 });
    await writeFile(join(dir, 'pipeline.json'), JSON.stringify({ stages: [stage('../elsewhere'), stage('01-sft'), null, stage('02-new')] }));
    await mkdir(join(dir, '01-sft'));
    await writeFile(join(dir, '01-sft', 'log.jsonl'), '{"event":"failed","message":"the loss became NaN"}\n');
    expect((await readReport(dir)).stages.map(({ name, status }) => [name, status])).toEqual([['01-sft', 'failed'], ['02-new', 'running']]);
  });
});

describe('samples beyond what a page holds', () => {
  it('are whole steps, evenly spread, the first and the last among them', () => {
    const window = new SampleWindow<number>(100);
    for (let step = 1; step <= 1000; step++) for (let k = 0; k < 8; k++) window.add(step, step);
    const records = window.records();
    const steps = [...new Set(records)];
    expect(window.total).toBe(8000);
    expect(records).toHaveLength(8 * steps.length);
    expect(records.length).toBeLessThanOrEqual(108);
    expect([steps[0], steps.at(-1)]).toEqual([1, 1000]);
    const gaps = new Set(steps.slice(1, -1).map((step, i) => step - steps[i]));
    expect(gaps.size).toBe(1);
  });

  it('while they fit, all are kept; one step cannot take more than all', () => {
    const window = new SampleWindow<number>(10);
    for (let i = 0; i < 10; i++) window.add(i, i);
    expect(window.records()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    const one = new SampleWindow<number>(10);
    for (let i = 0; i < 50; i++) one.add(null, i);
    expect(one.records()).toHaveLength(10);
  });
});
