import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineStage, type MetricsHandle, type PolicyHandle, type RewardHandle, type Stage } from '@espalier/spec';
import { afterEach, beforeEach, describe, expect, expectTypeOf, it } from 'vitest';
import { branch } from './branch';
import { digestPath } from './digest';
import { withFingerprint } from './fingerprint';
import { pipeline } from './pipeline';
import { reportTable } from './report';
import { runPipeline, type PipelineEvent } from './run-pipeline';
import { readPipelineConfig } from './yaml-pipeline';

let dir: string;
let ran: string[];
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-branch-'));
  ran = [];
});
afterEach(() => rm(dir, { recursive: true, force: true }));

/** A stage whose policy is the text of the policy before it, and its own. */
const add = (text: string, gate: { fail: boolean } = { fail: false }) =>
  withFingerprint(
    defineStage<{ policy: PolicyHandle }, { policy: PolicyHandle; metrics: MetricsHandle }>({
      name: `add-${text}`,
      needs: ['policy'],
      gives: ['policy', 'metrics'],
      async run({ policy }, context) {
        ran.push(`${text}${context.resume ? ' again' : ''}`);
        if (gate.fail) throw new Error('interrupted');
        const path = join(context.dir, 'model.txt');
        await writeFile(path, (await readFile(policy.path, 'utf8')) + text);
        context.report({ stage: `add-${text}`, step: 1, total: 1, metrics: {} });
        return { policy: { kind: 'policy', path, digest: await digestPath(path) }, metrics: { kind: 'metrics', path, values: { length: (await readFile(path, 'utf8')).length } } };
      },
    }),
    () => text,
  );

const begin = () =>
  withFingerprint(
    defineStage<Record<never, never>, { policy: PolicyHandle }>({
      name: 'begin',
      needs: [],
      gives: ['policy'],
      async run(_, context) {
        const path = join(context.dir, 'model.txt');
        await writeFile(path, '-');
        return { policy: { kind: 'policy', path, digest: await digestPath(path) } };
      },
    }),
    () => 'begin',
  );

const judged = defineStage<{ policy: PolicyHandle; reward: RewardHandle }, { policy: PolicyHandle }>({ name: 'judged', needs: ['policy', 'reward'], gives: ['policy'], run: async ({ policy }) => ({ policy }) });

describe('a branch', () => {
  it('begins with what there is and leaves it as it was; its stages stand in the report under its name', async () => {
    const events: PipelineEvent[] = [];
    const report = await runPipeline(pipeline(begin(), add('a'), branch('left', add('b'), add('c')), add('d')), { outputDir: join(dir, 'run'), onEvent: (event) => events.push(event) });
    expect(await readFile(report.artifacts.policy!.path, 'utf8')).toBe('-ad');
    expect(report.stages.map(({ name, metrics }) => [name, metrics.length])).toEqual([['begin', undefined], ['add-a', 2], ['left', undefined], ['left/add-b', 3], ['left/add-c', 4], ['add-d', 3]]);
    expect(await readFile(report.stages[4].gives.policy!.path, 'utf8')).toBe('-abc');
    expect(events.filter(({ type }) => type === 'step').map(({ stage }) => stage)).toEqual(['add-a', 'left/add-b', 'left/add-c', 'add-d']);
    expect(reportTable(report)).toContain('left/add-c');
  });

  it('resumes stage by stage, and runs again only what changed', async () => {
    const gate = { fail: true };
    const line = (last = 'c') => pipeline(begin(), branch('left', add('a'), add('b', gate), add(last)), add('d'));
    await expect(runPipeline(line(), { outputDir: dir })).rejects.toThrow('interrupted');
    gate.fail = false;
    ran = [];
    const report = await runPipeline(line(), { outputDir: dir, resume: true });
    expect(ran).toEqual(['b again', 'c', 'd']);
    expect(report.stages.map(({ name, skipped }) => [name, skipped])).toEqual([['begin', true], ['left', false], ['left/add-a', true], ['left/add-b', false], ['left/add-c', false], ['add-d', false]]);
    ran = [];
    await runPipeline(line(), { outputDir: dir, resume: true });
    expect(ran).toEqual([]);
    await runPipeline(line('e'), { outputDir: dir, resume: true });
    expect(ran).toEqual(['e']);
    ran = [];
    await writeFile(join(dir, '02-left', '01-add-a', 'model.txt'), 'tampered');
    await runPipeline(line('e'), { outputDir: dir, resume: true });
    expect(ran).toEqual(['a']); // made again as it was: what follows still holds
  });

  it('needs what its stages need and none of them gives', () => {
    expectTypeOf(branch('left', add('a'), judged)).toEqualTypeOf<Stage<{ policy: PolicyHandle; reward: RewardHandle }, Record<never, never>, 'left'>>();
    expect(branch('left', add('a'), judged).needs).toEqual(['policy', 'reward']);
    expect(branch('left', begin(), add('a')).needs).toEqual([]);
    // @ts-expect-error type-tests/pipeline.test-d.ts has the message
    expect(() => pipeline(begin(), branch('left', judged))).toThrow('stage 2 "left" needs reward');
    // @ts-expect-error what a branch gives stays with it
    expect(() => pipeline(branch('left', begin()), add('a'))).toThrow('stage 2 "add-a" needs policy');
    expect(() => branch('left')).toThrow('branch "left" has no stages');
    expect(() => branch('', begin())).toThrow('the name of a branch is ""');
  });

  it('is written in YAML', async () => {
    const source = { path: 'p.yaml', baseDir: dir, loadPlugin: () => Promise.reject(new Error('none')) };
    const rewardModel = { reward_model: { dataset: 'arithmetic', max_steps: 1 } };
    const { pipeline: line } = await readPipelineConfig({ stages: [{ model: 'm.gguf' }, { branch: { name: 'ppo', stages: [rewardModel, { ppo: { dataset: 'arithmetic', max_steps: 1 } }] } }] }, source);
    expect(line.stages.map(({ name, needs, gives }) => [name, needs, gives])).toEqual([['model', [], ['policy']], ['ppo', ['policy'], []]]);
    await expect(readPipelineConfig({ stages: [{ branch: { stages: [rewardModel] } }] }, source)).rejects.toThrow('stage 1: `branch` holds');
    await expect(readPipelineConfig({ stages: [{ branch: { name: 'x', stages: [{ rewardmodel: {} }] } }] }, source)).rejects.toThrow('did you mean `reward_model`?');
  });
});
