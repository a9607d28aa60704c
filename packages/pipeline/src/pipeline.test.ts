import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineStage, type MetricsHandle, type PolicyHandle, type RewardHandle } from '@espalier/spec';
import { afterEach, beforeEach, describe, expect, expectTypeOf, it } from 'vitest';
import { digestPath } from './digest';
import { withFingerprint } from './fingerprint';
import { checkedPipeline, pipeline, type Pipeline } from './pipeline';
import { reportTable } from './report';
import { runPipeline, type PipelineEvent } from './run-pipeline';

let dir: string;
beforeEach(async () => void (dir = await mkdtemp(join(tmpdir(), 'espalier-pipeline-'))));
afterEach(() => rm(dir, { recursive: true, force: true }));

const log: string[] = [];
beforeEach(() => void (log.length = 0));

/** A stage that writes a file as its "policy". */
const make = (text: string, options: { fail?: () => boolean } = {}) =>
  withFingerprint(
    defineStage<Record<never, never>, { policy: PolicyHandle }>({
      name: 'make',
      needs: [],
      gives: ['policy'],
      async run(_input, context) {
        log.push(`make ${text} resume=${context.resume}`);
        if (options.fail?.()) throw new Error('interrupted');
        const path = join(context.dir, 'model.txt');
        await writeFile(path, text);
        return { policy: { kind: 'policy', path, digest: await digestPath(path) } };
      },
    }),
    () => ({ text }),
  );

const grow = (by: string, gate: { fail: boolean } = { fail: false }) =>
  withFingerprint(
    defineStage<{ policy: PolicyHandle }, { policy: PolicyHandle; metrics: MetricsHandle }>({
      name: 'grow',
      needs: ['policy'],
      gives: ['policy', 'metrics'],
      async run({ policy }, context) {
        log.push(`grow ${by} resume=${context.resume}`);
        if (gate.fail) throw new Error('interrupted');
        const path = join(context.dir, 'model.txt');
        const text = (await readFile(policy.path, 'utf8')) + by;
        await writeFile(path, text);
        context.report({ stage: 'grow', step: 1, total: 1, metrics: { length: text.length } });
        return { policy: { kind: 'policy', path, digest: await digestPath(path) }, metrics: { kind: 'metrics', path, values: { length: text.length } } };
      },
    }),
    () => ({ by }),
  );

const judged = () =>
  defineStage<{ policy: PolicyHandle; reward: RewardHandle }, { policy: PolicyHandle }>({ name: 'judged', needs: ['policy', 'reward'], gives: ['policy'], run: async ({ policy }) => ({ policy }) });

describe('the order of stages', () => {
  it('is checked by the compiler, which names what is missing', () => {
    const good = pipeline(make('a'), grow('b'), grow('c'));
    expectTypeOf(good).toEqualTypeOf<Pipeline<'policy' | 'metrics'>>();
    // @ts-expect-error type-tests/pipeline.test-d.ts has the messages
    expect(() => pipeline(grow('b'))).toThrow('stage 1 "grow" needs policy, which no stage before it gives (begin with startFrom() or pretrain())');
    // @ts-expect-error nothing gives a reward
    expect(() => pipeline(make('a'), judged())).toThrow('stage 2 "judged" needs reward');
    // @ts-expect-error the right stages in the wrong order
    expect(() => pipeline(grow('b'), make('a'))).toThrow('(put "make" before it)');
  });

  it('is checked at run time for stages whose types are unknown', () => {
    expect(() => checkedPipeline([])).toThrow('a pipeline has no stages');
    expect(() => checkedPipeline([{ ...make('a'), specVersion: 'v2' as 'v1' }])).toThrow('speaks contracts "v2"');
  });
});

describe('a run', () => {
  it('hands artifacts on and reports', async () => {
    const events: PipelineEvent[] = [];
    const report = await runPipeline(pipeline(make('a'), grow('b'), grow('c')), { outputDir: join(dir, 'run'), onEvent: (event) => events.push(event) });
    expect(await readFile(report.artifacts.policy!.path, 'utf8')).toBe('abc');
    expect(report.stages.map((stage) => stage.metrics)).toEqual([{}, { length: 2 }, { length: 3 }]);
    expect((await readdir(join(dir, 'run'))).sort()).toEqual(['01-make', '02-grow', '03-grow', 'pipeline.json', 'report.html']);
    expect(events.map((event) => event.type)).toEqual(['stage-start', 'stage-end', 'stage-start', 'step', 'stage-end', 'stage-start', 'step', 'stage-end']);
    expect(reportTable(report).split('\n')).toHaveLength(5);
  });

  it('refuses a folder that holds a run, unless it resumes', async () => {
    const line = pipeline(make('a'));
    await runPipeline(line, { outputDir: dir });
    await expect(runPipeline(line, { outputDir: dir })).rejects.toMatchObject({ code: 'bad_config', message: expect.stringContaining('holds a run already') });
  });

  it('resumes: finished stages are skipped, the interrupted one goes on', async () => {
    const gate = { fail: true };
    const line = () => pipeline(make('a'), grow('b', gate), grow('c'));
    await expect(runPipeline(line(), { outputDir: dir })).rejects.toThrow('interrupted');
    gate.fail = false;
    log.length = 0;
    const report = await runPipeline(line(), { outputDir: dir, resume: true });
    expect(log).toEqual(['grow b resume=true', 'grow c resume=false']);
    expect(report.stages.map((stage) => stage.skipped)).toEqual([true, false, false]);
    log.length = 0;
    await runPipeline(line(), { outputDir: dir, resume: true });
    expect(log).toEqual([]);
  });

  it('runs a stage anew when its options, its seed or what it was given changed, and keeps what was there', async () => {
    await runPipeline(pipeline(make('a'), grow('b'), grow('c')), { outputDir: dir });
    log.length = 0;
    await runPipeline(pipeline(make('a'), grow('x'), grow('c')), { outputDir: dir, resume: true });
    expect(log).toEqual(['grow x resume=false', 'grow c resume=false']);
    expect(await readFile(join(dir, '02-grow.previous-1', 'model.txt'), 'utf8')).toBe('ab');
    log.length = 0;
    await writeFile(join(dir, '01-make', 'model.txt'), 'tampered');
    await runPipeline(pipeline(make('a'), grow('x'), grow('c')), { outputDir: dir, resume: true });
    expect(log).toEqual(['make a resume=false']); // made again with the same content: the later stages still hold
    log.length = 0;
    await runPipeline(pipeline(make('a'), grow('x'), grow('c')), { outputDir: dir, resume: true, seed: 7 });
    expect(log).toHaveLength(3);
  });

  it('stops between stages when the signal fires', async () => {
    const controller = new AbortController();
    const line = pipeline(make('a'), grow('b'), grow('c'));
    await expect(
      runPipeline(line, { outputDir: dir, signal: controller.signal, onEvent: (event) => event.type === 'step' && controller.abort() }),
    ).rejects.toMatchObject({ code: 'aborted' });
    expect(log).toEqual(['make a resume=false', 'grow b resume=false']);
  });

  it('survives its folder being moved', async () => {
    const first = join(dir, 'first');
    await runPipeline(pipeline(make('a'), grow('b')), { outputDir: first });
    const { rename } = await import('node:fs/promises');
    await rename(first, join(dir, 'second'));
    log.length = 0;
    const report = await runPipeline(pipeline(make('a'), grow('b')), { outputDir: join(dir, 'second'), resume: true });
    expect(log).toEqual([]);
    expect(report.artifacts.policy!.path).toBe(join(dir, 'second', '02-grow', 'model.txt'));
  });
});
