import { isEspalierError, type TokenBatch } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { grpo } from './algorithm';
import { parseGRPOConfig, type GRPOConfigInput } from './config';
import { lossTypes, policyLoss, type PolicyLossOptions } from './loss';
import { policyObjective } from './objective';
import { context, fakeLearner, trajectory } from './test-support';

const small: GRPOConfigInput = { numGenerations: 2, perDeviceTrainBatchSize: 4 };

const twoGroups = () => [
  [trajectory([1, 2, 3], [4, 5], { a: 1 }), trajectory([1, 2, 3], [6], { a: 0 })],
  [trajectory([7, 8], [9, 10, 11], { a: 2 }, { finishReason: 'length' }), trajectory([7, 8], [12, 13], { a: 2 })],
];

describe('experience', () => {
  it('packs each prompt once, with completions that continue it', async () => {
    const { learner, calls } = fakeLearner();
    const { batch, metrics } = await grpo(small).experience(twoGroups(), context(learner));
    expect([...batch.tokens]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
    expect([...batch.offsets]).toEqual([0, 3, 5, 6, 8, 11, 13]);
    expect([...batch.prefixOf!]).toEqual([-1, 0, 0, -1, 3, 3]);
    expect([...batch.actionIndex]).toEqual([3, 4, 5, 8, 9, 10, 11, 12]);
    expect(batch.normalizer).toEqual({ tokens: 8, sequences: 4 });
    const a = 0.5 / (Math.SQRT1_2 + 1e-4);
    expect([...batch.columns.advantages]).toEqual([a, a, -a, 0, 0, 0, 0, 0].map(Math.fround));
    expect(Object.keys(batch.columns).sort()).toEqual(['advantages', 'samplingLogps']); // on-policy, no KL: nothing is computed, the sampler's are there to compare with
    expect(calls).toEqual([]);
    expect(metrics).toMatchObject({
      reward: 1.25, frac_reward_zero_std: 0.5, 'rewards/a/mean': 1.25, 'completions/mean_length': 2, 'completions/min_length': 1, 'completions/max_length': 3,
      'completions/mean_terminated_length': 5 / 3, 'completions/max_terminated_length': 2, 'completions/clipped_ratio': 0.25,
    });
    expect(metrics.reward_std).toBeCloseTo(Math.sqrt(2.75 / 3), 12);
  });

  it('leaves truncated completions out of the loss but in the count', async () => {
    const { batch } = await grpo({ ...small, maskTruncatedCompletions: true }).experience(twoGroups(), context(fakeLearner().learner));
    expect([...batch.tokens]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13]);
    expect(batch.actionIndex.length).toBe(5);
    expect(batch.normalizer).toEqual({ tokens: 5, sequences: 4 });
  });

  it('trains on sampled tokens alone: a tool\'s output in between is context', async () => {
    const group = [trajectory([1, 2], [3, 4, 5], { a: 1 }, { trainable: Uint8Array.of(0, 0, 1, 0, 1) }), trajectory([1, 2], [6], { a: 0 })];
    const { batch } = await grpo(small).experience([group], context(fakeLearner().learner));
    expect(Array.from(batch.actionIndex, (t) => batch.tokens[t])).toEqual([3, 5, 6]);
  });

  it('shares only what prompts have in common', async () => {
    const group = [trajectory([1, 2, 3], [4], { a: 1 }), trajectory([1, 9], [5], { a: 0 })];
    const { batch } = await grpo(small).experience([group], context(fakeLearner().learner));
    expect([...batch.tokens]).toEqual([1, 2, 3, 4, 9, 5]);
    expect([...batch.offsets]).toEqual([0, 1, 4, 6]);
    expect([...batch.prefixOf!]).toEqual([-1, 0, 0]);
  });

  it('weighs rewards, reads objects, leaves out what could not be scored', async () => {
    const group = [
      trajectory([1], [2], { a: { total: 1, components: { x: 4 } }, b: 0 }), trajectory([1], [3], { a: 0, b: null }), trajectory([1], [4], { a: null, b: null }), trajectory([1], [5], { a: 1, b: 1 }),
    ];
    const { batch, metrics } = await grpo({ numGenerations: 4, perDeviceTrainBatchSize: 4, scaleRewards: false }).experience([group], context(fakeLearner().learner, { rewardWeights: { a: 0.7, b: 0.3 } }));
    const mean = (0.7 + 0 + 1) / 3;
    expect([...batch.columns.advantages]).toEqual([0.7 - mean, -mean, 0, 1 - mean].map(Math.fround));
    expect(metrics).toMatchObject({ 'rewards/a/mean': 2 / 3, 'rewards/b/mean': 0.5, 'rewards/a/x/mean': 4, 'rewards/unscorable': 1 });
    expect(metrics.reward).toBeCloseTo(mean, 12);
  });

  it('recomputes the old log-probs when the weights change on the way, and says how far the sampler was', async () => {
    const { learner, calls } = fakeLearner();
    const { batch, metrics } = await grpo({ ...small, numIterations: 2 }).experience(twoGroups(), context(learner));
    expect(calls).toEqual([{ needs: ['logps'], reference: false, temperature: 0.7 }]);
    expect([...batch.columns.oldLogps]).toEqual([4, 5, 6, 9, 10, 11, 12, 13].map((t) => -t / 8));
    const differences = [[4, 3], [5, 4], [6, 3], [9, 2], [10, 3], [11, 4], [12, 2], [13, 3]].map(([token, t]) => Math.abs(-token / 8 + t / 4));
    expect(metrics['sampling/sampling_logp_difference/max']).toBeCloseTo(Math.max(...differences), 6);
    expect(metrics['sampling/sampling_logp_difference/mean']).toBeCloseTo(differences.reduce((x, y) => x + y) / 8, 6);
  });

  it('takes the sampler\'s log-probs on request, and refuses when there are none', async () => {
    const algorithm = grpo({ ...small, oldLogps: 'sampler' });
    const { batch } = await algorithm.experience(twoGroups(), context(fakeLearner().learner));
    expect([...batch.columns.oldLogps]).toEqual([3, 4, 3, 2, 3, 4, 2, 3].map((t) => -t / 4));
    const without = twoGroups().map((group) => group.map((t) => ({ ...t, samplerLogps: null })));
    await expect(algorithm.experience(without, context(fakeLearner().learner))).rejects.toMatchObject({ code: 'unsupported' });
  });

  it('asks the reference when there is a KL term', async () => {
    const { learner, calls } = fakeLearner();
    const algorithm = grpo({ ...small, beta: 0.1 });
    expect(algorithm.needsReference).toBe(true);
    const { batch } = await algorithm.experience(twoGroups(), context(learner));
    expect(calls).toEqual([{ needs: ['logps'], reference: true, temperature: 0.7 }]);
    expect([...batch.columns.refLogps]).toEqual([4, 5, 6, 9, 10, 11, 12, 13].map((t) => -t / 16));
  });

  it('a batch in which all is masked asks for nothing', async () => {
    const { learner, calls } = fakeLearner();
    const group = [0, 1].map((a) => trajectory([1], [2, 3], { a }, { finishReason: 'length' }));
    const algorithm = grpo({ ...small, maskTruncatedCompletions: true, beta: 0.1, numIterations: 2 });
    const { batch } = await algorithm.experience([group], context(learner));
    expect(calls).toEqual([]);
    const { loss, grads } = algorithm.objective.evaluate({ logps: new Float32Array(0), entropy: new Float32Array(0) }, { ...batch, columns: { advantages: new Float32Array(0), refLogps: new Float32Array(0) } });
    expect(loss).toBe(0);
    expect(grads.logps).toHaveLength(0);
  });
});

describe('policyObjective', () => {
  const logps = [[-0.5, -1.25], [-2], [-0.75, -0.25, -1.5]];
  const oldLogps = [[-0.75, -1], [-1.5], [-1, -0.5, -1.25]];
  const refLogps = [[-0.25, -1.5], [-1.75], [-1, -0.25, -1]];
  const entropy = [[1, 0.5], [1.5], [0.25, 0.75, 2]];
  const advantages = [1, -0.5, 0.25];
  const flat = (rows: number[][]) => Float32Array.from(rows.flat());
  const batch: TokenBatch = {
    tokens: new Int32Array(8), offsets: Int32Array.of(0, 2, 4, 5, 8), prefixOf: Int32Array.of(-1, 0, 0, 0), actionIndex: Int32Array.of(2, 3, 4, 5, 6, 7),
    columns: { oldLogps: flat(oldLogps), refLogps: flat(refLogps), advantages: flat(logps.map((row, r) => row.map(() => advantages[r]))) }, normalizer: { tokens: 6, sequences: 3 },
  };

  it.each(lossTypes)('%s is policyLoss on columns', (lossType) => {
    const options: PolicyLossOptions = { lossType, beta: 0.1, entropyCoef: 0.05, maxCompletionLength: 4, epsilonHigh: 0.3 };
    const expected = policyLoss({ logps, oldLogps, refLogps, entropy, advantages }, options);
    const { loss, grads, metrics } = policyObjective(options).evaluate({ logps: flat(logps), entropy: flat(entropy) }, batch);
    expect(loss).toBe(expected.loss);
    expect([...grads.logps!]).toEqual([...flat(expected.grads.logps)]);
    expect([...grads.entropy!]).toEqual([...flat(expected.grads.entropy!)]);
    expect(Object.fromEntries(Object.entries(metrics).map(([name, m]) => [name, m.sum / m.weight]))).toEqual(expected.metrics);
  });

  it('says what must stay together', () => {
    const coupling = (options: PolicyLossOptions) => policyObjective(options).coupling;
    expect(coupling({})).toBe('token');
    expect(coupling({ lossType: 'cispo' })).toBe('token');
    expect(coupling({ lossType: 'grpo' })).toBe('sequence');
    expect(coupling({ importanceSamplingLevel: 'sequence' })).toBe('sequence');
    expect(coupling({ offPolicyMaskThreshold: 1 })).toBe('sequence');
    expect(coupling({ lossType: 'vespo' })).toBe('sequence');
    expect(coupling({ topEntropyQuantile: 0.2 })).toBe('batch');
  });

  it('asks no gradient of an entropy that is only logged', () => {
    expect(policyObjective({}).evaluate({ logps: flat(logps), entropy: flat(entropy) }, batch).grads.entropy).toBeUndefined();
  });

  it('stops where numbers are no longer finite', () => {
    const evaluate = (values: number[][], change: Partial<TokenBatch> = {}) => () => policyObjective({ beta: 0.1 }).evaluate({ logps: flat(values), entropy: flat(entropy) }, { ...batch, ...change });
    expect(evaluate([[NaN, -1], [-1], [-1, -1, -1]])).toThrow('logps[0] of the policy is NaN');
    expect(evaluate(logps, { columns: { ...batch.columns, oldLogps: new Float32Array(6).fill(-1e6) } })).toThrow('moved too far');
    expect(evaluate(logps, { columns: {} })).toThrow('no column `advantages`');
    expect(evaluate([[-1]])).toThrow('the learner gave 1 logps for 6 actions');
  });
});

describe('configuration', () => {
  const failing = (input: unknown): string => {
    try {
      parseGRPOConfig(input as GRPOConfigInput);
    } catch (error) {
      if (isEspalierError(error) && error.code === 'bad_config') return error.message;
      throw error;
    }
    return 'nothing was thrown';
  };
  it('has TRL\'s defaults', () => {
    expect(parseGRPOConfig()).toMatchObject({
      learningRate: 1e-6, beta: 0, numGenerations: 8, maxCompletionLength: 512, temperature: 1, topP: 1, topK: 0, epsilon: 0.2, numIterations: 1,
      lossType: 'dapo', scaleRewards: 'group', multiObjectiveAggregation: 'sum_then_normalize', importanceSamplingLevel: 'token', maskTruncatedCompletions: false,
      topEntropyQuantile: 1, entropyCoef: 0, useBiasCorrectionKl: true, sapoTemperaturePos: 1, sapoTemperatureNeg: 1.05, vespoKPos: 2, vespoLambdaPos: 3, vespoKNeg: 3, vespoLambdaNeg: 2,
    });
    for (const unset of ['epsilonHigh', 'delta', 'stepsPerGeneration', 'generationBatchSize', 'offPolicyMaskThreshold', 'minP'] as const) expect(parseGRPOConfig({ [unset]: null })[unset]).toBeUndefined();
    expect([true, false].map((scaleRewards) => parseGRPOConfig({ scaleRewards }).scaleRewards)).toEqual(['group', 'none']);
  });
  it('teaches about batch sizes', () => {
    expect(failing({ perDeviceTrainBatchSize: 6, numGenerations: 4 })).toBe('`per_device_train_batch_size` 6 is not divisible by `num_generations` 4 (4 or 8 would be)');
    expect(failing({ generationBatchSize: 32, stepsPerGeneration: 2 })).toContain('were both given');
  });
  it('names wrong fields', () => {
    expect(failing({ numGenerations: 1 })).toMatch(/num_generations.*at least 2/);
    expect(failing({ lossType: 'ppo' })).toContain('`loss_type`');
    expect(failing({ epsilonn: 1 })).toContain('unknown field `epsilonn`');
    expect(failing({ temperature: 0 })).toContain('`temperature`');
  });
});
