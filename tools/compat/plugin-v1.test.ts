import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { characterTokenizer, createModel } from '@espalier/models';
import { createRegistry, loadPlugin, pipeline, resolveRewards, rpt, runPipeline, startFrom } from '@espalier/pipeline';
import { RPTTrainer } from '@espalier/rpt';
import { EspalierError, type Artifacts } from '@espalier/spec';
import { describeAlgorithm, describeEnvironment, describeJudge, describeObjective, describeRewardFunction, describeRolloutEngine, describeStage, describeTracker, rewardSample, sampleBatch, sampleGroups, sampleOutputs, sampleTrajectory, stubLearner } from '@espalier/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { digests, typeErrors } from './frozen-plugin';
import { stepWith, tellAll, useAll } from './plugin-v1/compiled/host.js';
import { givenStage, plugin, speaks, statusOf, tableLearner, turnsOf } from './plugin-v1/compiled/index.js';

const folder = fileURLToPath(new URL('./plugin-v1/', import.meta.url));
const sources = readdirSync(join(folder, 'src')).map((name) => join(folder, 'src', name));
const { rewards, objectives, algorithms, rolloutEngines, environments, judges, stages, trackers, datasets, textModels } = plugin;

let dir: string;
beforeAll(async () => void (dir = await mkdtemp(join(tmpdir(), 'espalier-v1-'))));
afterAll(() => rm(dir, { recursive: true }));

describe('the plugin of contracts v1', () => {
  it('is what was frozen', () => {
    expect(digests(folder), 'tools/compat/plugin-v1 was edited: it must stay as it is (its README says why)').toBe(readFileSync(join(folder, 'SHA256SUMS'), 'utf8'));
  });

  it("is taken by TypeScript with today's declarations of spec", () => {
    expect(existsSync(fileURLToPath(new URL('../../packages/spec/dist/index.d.ts', import.meta.url))), 'npx nx run @espalier/spec:build comes first').toBe(true);
    expect(typeErrors(sources)).toEqual([]);
  });

  it('is taken by its own declarations, by whoever installs it, with optional properties exact too', () => {
    expect(typeErrors([join(folder, 'compiled/index.d.ts'), join(folder, 'compiled/host.d.ts')], { exactOptionalPropertyTypes: true })).toEqual([]);
  });

  it('would not be taken if a contract had changed', async () => {
    const changed = join(folder, '..', `.changed-${process.pid}.ts`); // in the repository, so that spec is found
    await writeFile(changed, "import type { RewardFunction } from '@espalier/spec';\nimport { echoReward } from './plugin-v1/compiled/reward.js';\nexport const reward: RewardFunction & { newInV1: string } = echoReward();\n");
    try {
      expect(typeErrors([changed]).join('\n')).toContain("'newInV1'");
    } finally {
      await rm(changed);
    }
  });

  it('uses every name that spec exported when it was frozen', () => {
    const text = sources.map((file) => readFileSync(file, 'utf8')).join('\n');
    for (const name of readFileSync(join(folder, 'NAMES'), 'utf8').trim().split('\n')) expect(text, name).toMatch(new RegExp(`\\b${name}\\b`));
  });

  it('speaks v1, and knows the errors of any copy of spec', () => {
    expect(speaks()).toBe(true);
    expect(statusOf(new EspalierError('bad_data', 'wrong', { fix: 'better' }))).toEqual({ code: 'bad_data', fix: 'better', status: 2 });
    expect(statusOf(new EspalierError('io', 'no disk'))).toMatchObject({ code: 'io', status: 1 });
    expect(statusOf(new Error('another'))).toEqual({ code: 'unknown', fix: undefined, status: 1 });
    expect(turnsOf({ ...sampleTrajectory('g/0', [5, 6], [7]), turns: [{ role: 'user', content: 'x', start: 0, end: 2 }] })).toEqual({ 'user@0: x': [5, 6], 'g/g/0 stop': [7, 3, 3, 1] });
  });
});

describe("its parts pass today's suites", () => {
  describeRewardFunction(rewards.echo);
  describeObjective(objectives.pull({ entropyCoef: 0.2 }), { columns: { oldLogps: null, advantages: null } });
  describeObjective(objectives.pair());
  describeAlgorithm(() => algorithms.centred());
  describeObjective(algorithms.centred().objective, { weightColumn: 'advantages', columns: { advantages: ({ action, random }) => (action % 4 === 1 ? 0 : random(-1, 1)) } });
  describeRolloutEngine(rolloutEngines.counting, { weights: () => ({ version: 2, digest: 'a', kind: 'memory', id: 'here' }) });
  describeEnvironment(() => environments.countdown({}), { rows: [{}, { from: 2 }], maxSteps: 6 });
  describeJudge(() => judges.brevity());
  describeStage(() => stages.sorted({}), { input: async (into) => ({ rows: await rowsIn(into) }) });
  describeTracker(() => trackers.diary(), { read: async (outputDir) => readDiary(outputDir) });
});

async function rowsIn(into: string): Promise<Artifacts['rows']> {
  const path = join(into, 'given.jsonl');
  await writeFile(path, ['c', 'a', 'b'].map((prompt) => `${JSON.stringify({ prompt })}\n`).join(''));
  return { kind: 'rows', path, digest: 'of three rows', count: 3 };
}

function readDiary(outputDir: string): { step: number; values: Record<string, number> }[] {
  const lines = readFileSync(join(outputDir, 'diary.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line) as { event: string; told: { step: number; metrics: Record<string, number> } });
  return lines.filter(({ event }) => event === 'log').map(({ told: { step, metrics } }) => ({ step, values: metrics }));
}

describe("today's packages run it", () => {
  it('registers every part, and makes each by name', async () => {
    const registry = createRegistry();
    registry.register(await loadPlugin(join(folder, 'compiled/index.js')));
    expect(registry.list().map(({ kind, name }) => `${kind} ${name}`)).toEqual(expect.arrayContaining(Object.entries(plugin).flatMap(([kind, parts]) => (typeof parts === 'object' ? Object.keys(parts).map((name) => `${kind} ${name}`) : []))));
    for (const { kind, name, create } of registry.list()) expect(await create({}), `${kind} ${name}`).toBeTypeOf('object');
    const [{ reward, weight }] = await resolveRewards(['echo:penalty=0.25,weight=2'], registry);
    expect(weight).toBe(2);
    const [scored] = await reward.score([rewardSample({ prompt: 'a 5', completion: '5', row: { answer: '5' } })], { step: 0 });
    expect(scored).toMatchObject({ total: 0.75, components: { right: 1, copied: 1 } });
  });

  it('serves a host that was written with it', async () => {
    const batch = sampleBatch();
    const said = await useAll(plugin, { reward: 'echo', objective: 'pull', algorithm: 'centred', engine: 'counting', environment: 'countdown', judge: 'brevity', model: 'parrot', stage: 'sorted', dataset: 'sums' }, {
      samples: [rewardSample(), rewardSample({ finishReason: 'aborted' })], batch, outputs: sampleOutputs(['logps', 'entropy', 'teacherDivergence'], batch), groups: sampleGroups(), context: { step: 1, learner: stubLearner(), rewardWeights: {}, maxCompletionLength: 8, temperature: 1 },
    });
    expect(said).toMatchObject({
      plugin: 'espalier-plugin-frozen-v1 v1',
      reward: { name: 'echo', numbers: [1, null], state: { seen: 0 } },
      objective: { name: 'pull', coupling: 'token', outputs: ['logps', 'entropy', 'teacherDivergence'], inert: batch.actionIndex.length },
      algorithm: { actions: sampleGroups().flat().reduce((sum, { trainable }) => sum + trainable.reduce((a, b) => a + b, 0), 0) },
      engine: { sync: 'memory', scored: [3] },
      environment: { tools: ['count'], rewards: [null, 1] },
      model: { text: 'hello', best: 0 },
      stage: { name: 'sorted', needs: ['rows'], gives: ['rows', 'metrics'] },
      rows: 4,
    });
    const { algorithm } = said as { algorithm: { advantages: number[][] } };
    for (const group of algorithm.advantages) expect(group.reduce((a, b) => a + b, 0)).toBeCloseTo(0, 9); // less the mean of the group
  });

  it('trains: its algorithm and objective on its learner lower the loss', async () => {
    const learner = tableLearner();
    const algorithm = algorithms.centred();
    const { batch } = await algorithm.experience(sampleGroups(), { step: 1, learner, rewardWeights: {}, maxCompletionLength: 8, temperature: 1 });
    const { before, after, norm, version } = await stepWith(learner, algorithm.objective, batch, dir);
    expect(after).toBeLessThan(before);
    expect(norm).toBeGreaterThan(0);
    expect(version).toBe(1);
    const other = tableLearner();
    await other.load(dir); // which the step has saved
    expect((await other.forward(batch, ['logps'])).logps).toEqual((await learner.forward(batch, ['logps'])).logps);
  });

  it('takes part in a run: rows, reward, algorithm and tracker with a model', async () => {
    await createModel(join(dir, 'model'), { config: { hiddenSize: 16, numLayers: 1, numHeads: 2, maxPositions: 32 }, tokenizer: characterTokenizer('0123456789+= '), seed: 1 });
    const trainDataset: Record<string, unknown>[] = [];
    for await (const row of datasets.sums({ size: 8 })) trainDataset.push(row);
    const trainer = new RPTTrainer({
      model: join(dir, 'model'), modelArgs: { backend: 'cpu' }, inline: true, algorithm: algorithms.centred(), rewardFuncs: rewards.echo(), trackers: [trackers.diary()], trainDataset,
      args: { outputDir: join(dir, 'run'), maxSteps: 2, loggingSteps: 1, perDeviceTrainBatchSize: 4, numGenerations: 2, maxCompletionLength: 3 },
    });
    await trainer.train();
    await trainer.close();
    expect(readDiary(join(dir, 'run')).map(({ step }) => step)).toEqual([1, 2]);
    expect(Object.keys(readDiary(join(dir, 'run'))[0].values)).toEqual(expect.arrayContaining(['loss', 'completions/mean_length', 'centred/stale']));
  });

  it('takes part in a pipeline: its stages, and its reward and algorithm by name', async () => {
    const registry = createRegistry([plugin]);
    const handle = { kind: 'policy', path: join(dir, 'model'), digest: 'of the model' } as const;
    const given = givenStage({ policy: handle, reference: handle, reward: { kind: 'reward', path: dir, digest: 'none' }, metrics: { kind: 'metrics', path: 'metrics.json', values: {} }, rows: await rowsIn(dir) });
    const { artifacts } = await runPipeline(pipeline(given, stages.sorted({ descending: true })), { outputDir: join(dir, 'sorted') });
    expect(readFileSync(artifacts.rows!.path, 'utf8')).toBe(['c', 'b', 'a'].map((prompt) => `${JSON.stringify({ prompt })}\n`).join(''));

    const trained = await runPipeline(
      pipeline(startFrom(join(dir, 'model')), rpt({ backend: 'cpu', inline: true, registry, algorithm: 'centred', reward: ['echo=0.5'], dataset: [{ prompt: '1+1=', answer: '2' }], maxSteps: 1, perDeviceTrainBatchSize: 2, numGenerations: 2, maxCompletionLength: 3 })),
      { outputDir: join(dir, 'trained') },
    );
    expect(trained.stages.map(({ name }) => name)).toEqual(['model', 'rpt']);
  });

  it('tells its tracker of a run', async () => {
    await tellAll(trackers.diary({ file: 'told.jsonl' }), dir);
    const events = readFileSync(join(dir, 'told.jsonl'), 'utf8').trim().split('\n').map((line) => (JSON.parse(line) as { event: string }).event);
    expect(events).toEqual(['start', 'log', 'samples', 'notice', 'flush', 'end']);
  });

  it('answers as a text model', async () => {
    const model = await textModels.parrot({ suffix: '!' });
    expect(await model.complete([[{ role: 'user', content: 'hello there' }]], { stop: [' '], temperature: 0 })).toEqual(['hello']);
    expect(await model.optionLogpsAll?.([{ prompt: 'ab', options: ['cd', 'c'] }])).toEqual([[-1, -2]]);
  });
});
