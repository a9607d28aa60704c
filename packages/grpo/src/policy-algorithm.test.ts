import { importanceCorrection, leaveOneOutAdvantages, reinforcePlusPlusAdvantages, rowsOf } from '@espalier/objectives';
import { isEspalierError } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { grpo } from './algorithm';
import { parseGRPOConfig, type GRPOConfigInput } from './config';
import { reinforcePlusPlus } from './reinforce';
import { parseReinforcePlusPlusConfig } from './reinforce-config';
import { rloo } from './rloo';
import { parseRLOOConfig } from './rloo-config';
import { context, fakeLearner, trajectory } from './test-support';

const small = { numGenerations: 2, perDeviceTrainBatchSize: 4 };
const twoGroups = () => [
  [trajectory([1, 2, 3], [4, 5], { a: 1 }), trajectory([1, 2, 3], [6], { a: 0 })],
  [trajectory([7, 8], [9, 10, 11], { a: 2 }, { finishReason: 'length' }), trajectory([7, 8], [12, 13], { a: 2 })],
];
const tokens = [[4, 5], [6], [9, 10, 11], [12, 13]];
const remote = (version: number) => ({ sampler: { sharesWeights: false, version } });
/** log π_old − log π_ref of the fake learner. */
const kl = tokens.map((row) => row.map((token) => -token / 8 + token / 16));
const rows = (column: Float32Array) => {
  let next = 0;
  return tokens.map((row) => row.map(() => column[next++]));
};
const close = (found: ArrayLike<number>, expected: readonly number[]) => {
  expect(found.length).toBe(expected.length);
  expected.forEach((v, i) => expect(found[i]).toBeCloseTo(v, 5));
};

describe('rloo', () => {
  it('takes the KL of a completion off its reward, then leaves one out', async () => {
    const { learner, calls } = fakeLearner();
    const algorithm = rloo({ ...small, beta: 0.05, rewardClipRange: [0, 1.5] });
    expect(algorithm).toMatchObject({ name: 'rloo', needsReference: true, objective: { name: 'rloo', coupling: 'sequence' } });
    const { batch, metrics, advantages } = await algorithm.experience(twoGroups(), context(learner));
    const expected = leaveOneOutAdvantages({ rewards: [1, 0, 2, 2], kl: kl.map((row) => row.reduce((a, b) => a + b)) }, { numGenerations: 2, beta: 0.05, rewardClipRange: [0, 1.5] });
    rows(batch.columns.advantages).forEach((row, i) => close(row, row.map(() => expected[i])));
    close(advantages!.flat() as number[], [...expected]);
    expect(calls.map(({ reference }) => reference)).toEqual([false, true]);
    expect(metrics.kl).toBeCloseTo(kl.flat().reduce((a, b) => a + b) / 8, 6);
    expect(metrics).toMatchObject({ reward: 1.25, frac_reward_zero_std: 0 });
  });

  it('without a penalty asks for nothing', async () => {
    const { learner, calls } = fakeLearner();
    const { batch, metrics } = await rloo({ ...small, beta: 0 }).experience(twoGroups(), context(learner));
    expect(calls).toEqual([]);
    close(batch.columns.advantages, [1, 1, -1, 0, 0, 0, 0, 0]);
    expect(metrics.frac_reward_zero_std).toBe(0.5);
  });

  it('has TRL\'s defaults', () => {
    expect(parseRLOOConfig()).toMatchObject({ learningRate: 1e-6, beta: 0.05, numGenerations: 2, maxCompletionLength: 512, epsilon: 0.2, numIterations: 1, normalizeAdvantages: false, maskTruncatedCompletions: false });
    expect(parseRLOOConfig({ rewardClipRange: null }).rewardClipRange).toBeUndefined();
  });
});

describe('REINFORCE++', () => {
  it.each([[false], [true]])('whitens returns with the KL in each token\'s reward; baseline %s', async (baseline) => {
    const { learner } = fakeLearner();
    const { batch, advantages } = await reinforcePlusPlus({ ...small, beta: 0.1, baseline }).experience(twoGroups(), context(learner));
    const expected = reinforcePlusPlusAdvantages({ rewards: [1, 0, 2, 2], kl }, { beta: 0.1, baseline, numGenerations: 2 });
    rows(batch.columns.advantages).forEach((row, i) => close(row, expected[i]));
    close(advantages!.flat() as number[], expected.map((row) => row.reduce((a, b) => a + b) / row.length));
  });

  it('a completion that is left out of the loss is left out of the whitening', async () => {
    const { batch } = await reinforcePlusPlus({ ...small, beta: 0, maskTruncatedCompletions: true }).experience(twoGroups(), context(fakeLearner().learner));
    const expected = reinforcePlusPlusAdvantages({ rewards: [1, 0, 2], lengths: [2, 1, 2] });
    close(batch.columns.advantages, expected.flat());
  });

  it('goes without groups, but not with the baseline', async () => {
    const { metrics } = await reinforcePlusPlus({ numGenerations: 1, perDeviceTrainBatchSize: 4, beta: 0 }).experience(twoGroups().flat().map((t) => [t]), context(fakeLearner().learner));
    expect(metrics).not.toHaveProperty('frac_reward_zero_std');
    expect(() => parseReinforcePlusPlusConfig({ numGenerations: 1, baseline: true })).toThrow('`num_generations` is 1');
  });
});

describe('advantages of one\'s own', () => {
  it('a number a completion, a number a token, or null: not trained on', async () => {
    const seen: unknown[] = [];
    const algorithm = grpo(small, {
      advantages: (_groups, { rewards, rewardWeights, step }) => {
        seen.push(rewards, rewardWeights, step);
        return [[3, null], [[1, 2, 3], -1]];
      },
    });
    const { batch, advantages, metrics } = await algorithm.experience(twoGroups(), context(fakeLearner().learner, { rewardWeights: { a: 2 }, step: 7 }));
    expect(seen).toEqual([[[2, 0], [4, 4]], { a: 2 }, 7]);
    expect([...batch.columns.advantages]).toEqual([3, 3, 1, 2, 3, -1, -1]);
    expect(advantages).toEqual([[3, null], [2, -1]]);
    expect(metrics.reward).toBe(2.5);
    expect(batch.normalizer).toEqual({ tokens: 7, sequences: 4 });
  });

  it.each([
    [[[1, 2]], 'gave 1 groups for 2'],
    [[[1], [1, 2]], 'gave 1 advantages for the 2 completions of group 0'],
    [[[1, 2], [[1], 2]], 'gave 1 numbers for the 3 tokens of completion 0 of group 1'],
    [[[1, NaN], [1, 2]], 'gave NaN for completion 1 of group 0'],
  ])('refuses %j', async (given, message) => {
    await expect(grpo(small, { advantages: () => given as number[][] }).experience(twoGroups(), context(fakeLearner().learner))).rejects.toThrow(message);
  });
});

describe('a sampler that is not the learner', () => {
  it('its mismatch is corrected, and told', async () => {
    const { learner, calls } = fakeLearner();
    const { batch, metrics } = await grpo({ ...small, oldLogps: 'recompute', importanceSamplingMode: 'token_truncate', importanceSamplingClipMax: 1.1 }).experience(twoGroups(), context(learner, remote(3)));
    expect(calls).toHaveLength(1);
    const old = tokens.flat().map((token) => -token / 8);
    const sampler = [3, 4, 3, 2, 3, 4, 2, 3].map((t) => -t / 4);
    const expected = importanceCorrection({ oldLogps: old, samplerLogps: sampler, rows: rowsOf([2, 1, 3, 2]) }, { mode: 'token_truncate', clipMax: 1.1 });
    close(batch.columns.importanceSamplingRatio, [...expected.ratio]);
    close(batch.columns.oldLogps, old);
    expect(metrics['sampling/importance_sampling_ratio/max']).toBeCloseTo(1.1, 6);
    expect(metrics['sampling/clipped_ratio']).toBeCloseTo(expected.clippedShare, 6);
    expect(metrics['sampling/effective_sample_size']).toBeCloseTo(expected.effectiveSampleSize, 6);
    const differences = old.map((logp, i) => logp - sampler[i]);
    expect(metrics['sampling/sampling_logp_difference/mean']).toBeCloseTo(differences.reduce((sum, d) => sum + Math.abs(d), 0) / 8, 6);
    expect(metrics['sampling/kl']).toBeCloseTo(differences.reduce((sum, d) => sum + Math.exp(d) - 1 - d, 0) / 8, 5);
  });

  it.each([
    ['grpo', grpo, { importanceSamplingMode: 'token_truncate', importanceSamplingClipMax: 1.1 }],
    ['grpo by sequence', grpo, { importanceSamplingClipMax: 1.7 }],
    ['rloo', (config: object) => rloo({ ...config, beta: 0 }), { importanceSamplingClipMax: 1.7 }],
  ] as const)('in the loss, which has the log-probs anyway, it comes to the same: %s', async (_, algorithm, config) => {
    const found = await Promise.all((['recompute', 'auto'] as const).map(async (oldLogps) => {
      const { learner, calls } = fakeLearner();
      const { objective, experience } = algorithm({ ...small, ...config, oldLogps });
      const { batch, metrics } = await experience(twoGroups(), context(learner, remote(3)));
      const logps = Float32Array.from(tokens.flat(), (token) => -token / 8);
      const { loss, grads, metrics: ofLoss } = objective.evaluate({ logps, entropy: new Float32Array(8) }, batch);
      const told = { ...metrics, ...Object.fromEntries(Object.entries(ofLoss).map(([name, { sum, weight }]) => [name, sum / weight])) };
      return { passes: calls.length, coupling: objective.coupling, loss, grads: [...grads.logps!], sampling: Object.entries(told).filter(([name]) => name.startsWith('sampling/')).sort() };
    }));
    const [recomputed, auto] = found;
    expect([recomputed.passes, auto.passes]).toEqual([1, 0]);
    expect(recomputed.sampling.find(([name]) => name === 'sampling/clipped_ratio')![1]).toBeGreaterThan(0);
    expect(auto.sampling.map(([name]) => name)).toEqual(recomputed.sampling.map(([name]) => name));
    close(auto.sampling.map(([, value]) => value as number), recomputed.sampling.map(([, value]) => value as number));
    close(auto.grads, recomputed.grads);
    expect(auto.loss).toBeCloseTo(recomputed.loss, 6);
    expect(auto.grads.some((grad) => grad !== 0)).toBe(true);
  });

  it('is known as a matter of whole sequences where it is one', () => {
    const coupling = (config: GRPOConfigInput) => grpo({ ...small, ...config }).objective.coupling;
    expect(coupling({})).toBe('sequence');
    expect(coupling({ importanceSamplingMode: 'token_truncate' })).toBe('token');
    expect(coupling({ importanceSamplingCorrection: false })).toBe('token');
  });

  it('without log-probs there is nothing to correct with: refused where it was asked for', async () => {
    const without = () => twoGroups().map((group) => group.map((t) => ({ ...t, samplerLogps: null })));
    const { batch } = await grpo(small).experience(without(), context(fakeLearner().learner, remote(0)));
    expect(Object.keys(batch.columns)).toEqual(['advantages']);
    await expect(grpo({ ...small, importanceSamplingCorrection: true }).experience(without(), context(fakeLearner().learner))).rejects.toMatchObject({ code: 'unsupported' });
  });

  it('the learner\'s own sampler is compared in the loss, at no cost', async () => {
    const { learner, calls } = fakeLearner();
    const algorithm = grpo(small);
    const { batch } = await algorithm.experience(twoGroups(), context(learner, { sampler: { sharesWeights: true, version: 9 } }));
    expect(calls).toEqual([]);
    const { metrics } = algorithm.objective.evaluate({ logps: Float32Array.from(batch.columns.samplingLogps, (v) => v + 0.5), entropy: new Float32Array(8) }, batch);
    expect(metrics['sampling/sampling_logp_difference/mean'].sum / metrics['sampling/sampling_logp_difference/mean'].weight).toBeCloseTo(0.5, 6);
    expect(metrics['sampling/effective_sample_size'].sum / metrics['sampling/effective_sample_size'].weight).toBeCloseTo(1, 6);
  });

  const aged = (...versions: number[]) => twoGroups().map((group, g) => group.map((t, k) => ({ ...t, versions: [{ version: versions[2 * g + k], start: 0, end: t.tokens.length }] })));

  it('what is too far behind is left out of the loss and of the baseline', async () => {
    const algorithm = rloo({ ...small, beta: 0, maxStaleness: 1 });
    const { batch, metrics, advantages } = await algorithm.experience(aged(5, 3, 4, 5), context(fakeLearner().learner, remote(5)));
    expect(metrics).toMatchObject({ 'sampling/staleness/mean': 0.75, 'sampling/staleness/max': 2, 'sampling/stale_rejected': 1 });
    expect(advantages![0]).toEqual([0, null]); // alone in its group
    expect(Array.from(batch.actionIndex, (t) => batch.tokens[t])).toEqual([4, 5, 9, 10, 11, 12, 13]);
    expect(metrics.reward).toBeCloseTo(5 / 3, 12);
  });

  it('or kept and corrected', async () => {
    const { batch, metrics } = await grpo({ ...small, maxStaleness: 1, staleCompletions: 'correct' }).experience(aged(5, 3, 4, 5), context(fakeLearner().learner, remote(5)));
    expect(batch.actionIndex).toHaveLength(8);
    expect(batch.columns).toHaveProperty('corrected');
    expect(metrics['sampling/stale_rejected']).toBe(0);
  });
});

describe('what does not fit together', () => {
  const failing = (parse: () => unknown): string => {
    try {
      parse();
    } catch (error) {
      if (isEspalierError(error) && error.code === 'bad_config') return error.message;
      throw error;
    }
    return 'nothing was thrown';
  };
  const ofGRPO = (input: GRPOConfigInput) => failing(() => parseGRPOConfig(input));

  it.each([['topP', 0.9, '`top_p` 0.9'], ['topK', 50, '`top_k` 50'], ['minP', 0.1, '`min_p` 0.1'], ['repetitionPenalty', 1.1, '`repetition_penalty` 1.1']])('a filter of the distribution: %s', (field, value, message) => {
    for (const parse of [parseGRPOConfig, parseRLOOConfig, parseReinforcePlusPlusConfig]) {
      expect(failing(() => parse({ [field]: value }))).toContain(`${message} would sample from another distribution than the one whose log-probs are trained on`);
    }
  });

  it('corrections that contradict one another', () => {
    expect(ofGRPO({ oldLogps: 'sampler', importanceSamplingCorrection: true })).toContain('count it twice');
    expect(ofGRPO({ staleCompletions: 'correct', importanceSamplingCorrection: false })).toContain('`stale_completions` correct needs the correction');
    expect(ofGRPO({ importanceSamplingClipMin: 3 })).toContain('`importance_sampling_clip_min` 3 is not below');
    expect(ofGRPO({ lossType: 'vespo', importanceSamplingCorrection: true })).toContain('vespo');
    expect(failing(() => parseRLOOConfig({ importanceSamplingMode: 'token_mask' }))).toContain('one ratio a completion');
  });

  it('vespo meets a correction that only the sampler asks for', async () => {
    await expect(grpo({ ...small, lossType: 'vespo' }).experience(twoGroups(), context(fakeLearner().learner, remote(0)))).rejects.toThrow('takes corrections by token');
  });
});
