import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEngine } from '@espalier/engine';
import { characterTokenizer, createModel, openSafetensors } from '@espalier/models';
import { defineReward } from '@espalier/spec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PPOTrainer, type PPOTrainerOptions } from './trainer';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-ppo-'));
  await createModel(join(dir, 'model'), { config: { hiddenSize: 16, numLayers: 2, numHeads: 2, maxPositions: 64 }, tokenizer: characterTokenizer('0123456789+= '), seed: 1 });
});
afterAll(async () => rm(dir, { recursive: true, force: true }));

const sevens = defineReward({ name: 'sevens', score: async (samples) => samples.map(({ completion }) => (completion.match(/7/g) ?? []).length) });
const rows = Array.from({ length: 12 }, (_, i) => ({ prompt: `${i}+${i}=` }));
const trainer = (name: string, args: PPOTrainerOptions['args'] = {}, more: Partial<PPOTrainerOptions> = {}) =>
  new PPOTrainer({
    model: join(dir, 'model'), rewardFuncs: sevens, trainDataset: rows, inline: true,
    args: { outputDir: join(dir, name), maxSteps: 6, perDeviceTrainBatchSize: 8, maxCompletionLength: 4, temperature: 1, learningRate: 3e-3, numPpoEpochs: 2, numMiniBatches: 2, loggingSteps: 2, saveSteps: 2, ...args },
    ...more,
  });
/** Every file of weights and optimisers in a checkpoint, and the algorithm's state. */
async function checkpoint(name: string, step: number): Promise<Record<string, string>> {
  const folder = join(dir, name, 'checkpoints', `step-${String(step).padStart(6, '0')}`);
  const files = (await readdir(folder, { recursive: true })).filter((file) => file.endsWith('.safetensors')).sort();
  const state = JSON.parse(await readFile(join(folder, 'trainer_state.json'), 'utf8')) as { algorithm: unknown };
  return { ...Object.fromEntries(await Promise.all(files.map(async (file) => [file, (await readFile(join(folder, file))).toString('base64')] as const))), state: JSON.stringify(state.algorithm) };
}
const everything: PPOTrainerOptions['args'] = { klTarget: 0.5, klHorizon: 50, useScoreScaling: true, useScoreNorm: true, scoreClip: 2, missingEosPenalty: 1, whitenRewards: true, ptxCoef: 0.3, ptxBatchSize: 4, targetKl: 0.02 };
const lmRows = rows.map(({ prompt }) => ({ text: `${prompt}7` }));

describe('PPOTrainer on a small model', () => {
  it.each([['a separate critic', {}], ['a shared trunk', { sharedTrunk: true, vfCoef: 0.5 }]] as const)('learns what is rewarded, and logs it under TRL\'s names: %s', async (title, args) => {
    const run = trainer(title.replaceAll(' ', '-'), { maxSteps: 25, learningRate: 1e-2, saveStrategy: 'no', numMiniBatches: 1, perDeviceTrainBatchSize: 16, klCoef: 0.01, ...args }, { evalDataset: rows });
    const before = await run.evaluate({ samples: 4 });
    const { metrics } = await run.train();
    const after = await run.evaluate({ samples: 4 });
    await run.close();
    expect(after.reward).toBeGreaterThan(before.reward + 1);
    for (const name of [
      'objective/kl', 'objective/entropy', 'objective/non_score_reward', 'objective/rlhf_reward', 'objective/scores', 'policy/approxkl_avg', 'policy/clipfrac_avg', 'policy/entropy_avg', 'loss/policy_avg', 'loss/value_avg',
      'val/clipfrac_avg', 'val/ratio', 'val/ratio_var', 'val/num_eos_tokens', 'episode', 'reward', 'rewards/sevens/mean', 'completions/mean_length', 'loss', 'grad_norm', 'learning_rate',
    ]) expect(metrics, name).toHaveProperty([name]);
    expect(Object.keys(metrics).includes('critic/grad_norm')).toBe(title === 'a separate critic');
  });

  it.each([
    ['a separate critic, all options on', everything],
    ['a shared trunk', { ...everything, sharedTrunk: true }],
  ] as const)('goes on after an interruption to the same bytes: %s', async (title, args) => {
    const name = `resume-${title.replaceAll(/\W+/g, '-')}`;
    const straight = trainer(`${name}-straight`, args, { ptxDataset: lmRows });
    await straight.train();
    await straight.close();
    const controller = new AbortController();
    const first = trainer(name, args, { ptxDataset: lmRows, callbacks: [{ onStep: ({ step }) => void (step === 3 && controller.abort()) }] });
    await expect(first.train({ signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
    await first.close();
    const second = trainer(name, args, { ptxDataset: lmRows });
    await second.train({ resume: true });
    await second.close();
    const [found, expected] = [await checkpoint(name, 6), await checkpoint(`${name}-straight`, 6)];
    expect(Object.keys(found)).toEqual(Object.keys(expected));
    expect(Object.keys(found).some((file) => file === join('critic', 'model.safetensors'))).toBe(title !== 'a shared trunk');
    for (const file of Object.keys(expected)) expect(found[file] === expected[file], file).toBe(true);
    expect(JSON.parse(found.state)).not.toMatchObject({ klCoef: 0.05 });
  });

  it('micro-batches add up: 8 × 1 is 1 × 8, policy and critic', async () => {
    const norms = async (name: string, perDeviceTrainBatchSize: number, gradientAccumulationSteps: number) => {
      const list: number[] = [];
      const run = trainer(name, { perDeviceTrainBatchSize, gradientAccumulationSteps, maxSteps: 5, saveStrategy: 'no' }, { callbacks: [{ onStep: (_, metrics) => void list.push(metrics.loss, metrics.grad_norm, metrics['critic/grad_norm']) }] });
      await run.train();
      await run.close();
      return list;
    };
    const [whole, parts] = [await norms('whole', 8, 1), await norms('parts', 1, 8)];
    whole.forEach((value, i) => expect(parts[i]).toBeCloseTo(value, 4));
  });

  it('holds no tensor longer at the last step than at the second', async () => {
    const [policy, critic] = await Promise.all([openEngine({ model: join(dir, 'model'), inline: true, reference: true }), openEngine({ model: join(dir, 'model'), inline: true, scalarHead: true })]);
    const counts: number[] = [];
    const run = trainer('leak', { maxSteps: 8, saveStrategy: 'no' }, { model: policy, valueModel: critic, callbacks: [{ onStep: async () => void counts.push((await policy.memory()).numTensors) }] });
    await run.train();
    await run.close(); // leaves both engines open: they are not the trainer's
    expect(counts.slice(1)).toEqual(new Array(7).fill(counts[1]));
    await Promise.all([policy.close(), critic.close()]);
  });

  it('stops the passes over a batch when the policy has moved too far, without the step that went beyond', async () => {
    const updates: number[] = [];
    const run = trainer('target-kl', { maxSteps: 3, saveStrategy: 'no', numPpoEpochs: 6, numMiniBatches: 1, learningRate: 3e-2, targetKl: 1e-3 }, { callbacks: [{ onStep: (_, metrics) => void updates.push(metrics['policy/updates']) }] });
    const { step } = await run.train();
    await run.close();
    expect(step).toBe(3);
    expect(updates.every((n) => n >= 1 && n < 6)).toBe(true);
  });

  it('names file, line and field of a wrong row', async () => {
    const file = join(dir, 'rows.jsonl');
    await writeFile(file, '{"prompt": "1+1="}\n{"prompt": 2}\n');
    const run = trainer('bad-row', { saveStrategy: 'no' }, { trainDataset: file });
    await expect(run.train()).rejects.toMatchObject({ code: 'bad_data', message: expect.stringMatching(/rows\.jsonl:2: `prompt`/) as string });
    await run.close();
  });

  it('refuses what does not fit together', async () => {
    expect(() => trainer('bad', { numMiniBatches: 3 })).toThrow('a batch of 8 completions is not divisible by `num_mini_batches` 3 (2 or 4 would do)');
    expect(() => trainer('bad', { stepsPerGeneration: 2 })).toThrow(/leave `steps_per_generation`/);
    expect(() => trainer('bad', { klEstimator: 'k2' as 'k1' })).toThrow(/`kl_estimator`: k1 or k3/);
    expect(() => trainer('bad', { sharedTrunk: true, valueModel: 'x' })).toThrow(/`value_model` is given/);
    expect(() => trainer('bad', { responseLength: 8, maxCompletionLength: 4 })).toThrow(/two names of one field/);
    expect(() => trainer('bad', { topP: 0.9 })).toThrow(/`top_p` 0.9 would sample from another distribution/);
    expect(() => trainer('bad', { ptxCoef: 1 })).toThrow(/no `ptx_dataset`/);
    expect(() => trainer('bad', { totalEpisodes: 80 })).toThrow(/`total_episodes` and `max_steps`/);
    const engine = await openEngine({ model: join(dir, 'model'), inline: true });
    await expect(trainer('bad', { klCoef: 0 }, { model: engine }).train()).rejects.toThrow(/there is no critic/);
    await expect(trainer('bad', { klCoef: 0, sharedTrunk: true }, { model: engine }).train()).rejects.toThrow(/needs a policy with a scalar head/);
    await expect(trainer('bad', { klCoef: 0, sharedTrunk: true, emaDecay: 0.9 }, { model: engine }).train()).rejects.toThrow(/`ema_decay` decides how the policy is opened/);
    await engine.close();
  });
});

describe('hydra and the average of the weights', () => {
  it('lower layers stay, upper layers and both heads move; the average is saved, restored and can be used', async () => {
    const args = { sharedTrunk: true, freezeLayers: 1, emaDecay: 0.5, maxSteps: 4 } as const;
    const straight = trainer('hydra-straight', args, { evalDataset: rows });
    await straight.train();
    await straight.saveModel(join(dir, 'hydra-own'));
    await straight.useEma(true);
    await straight.saveModel(join(dir, 'hydra-average'));
    await straight.evaluate();
    await straight.close();
    const tensors = (folder: string) => {
      const file = openSafetensors(join(folder, 'model.safetensors'));
      const all = new Map([...file.tensors.keys()].map((name) => [name, file.read(name).join()]));
      file.close();
      return all;
    };
    const [first, own, average] = [tensors(join(dir, 'model')), tensors(join(dir, 'hydra-own')), tensors(join(dir, 'hydra-average'))];
    const moved = [...first.keys()].filter((name) => own.get(name) !== first.get(name));
    expect(moved.some((name) => name.includes('layers.0.') || name.includes('embed'))).toBe(false);
    expect(moved.some((name) => name.includes('layers.1.'))).toBe(true);
    expect(moved.every((name) => average.get(name) !== own.get(name))).toBe(true);

    const controller = new AbortController();
    const before = trainer('hydra', args, { callbacks: [{ onStep: ({ step }) => void (step === 2 && controller.abort()) }] });
    await expect(before.train({ signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
    await before.close();
    const resumed = trainer('hydra', args);
    await resumed.train({ resume: true });
    await resumed.useEma(true);
    await resumed.saveModel(join(dir, 'hydra-average-resumed'));
    await resumed.close();
    expect(tensors(join(dir, 'hydra-average-resumed'))).toEqual(average);
  });
});
