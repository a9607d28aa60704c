import { readFileSync } from 'node:fs';
import type { ScoredTrajectory, TokenBatch } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { parsePPOFields } from './config';
import { fillExperience, rewardMetrics, type RewardedRow } from './experience';
import { packGroups } from './pack';
import { noMoments } from './running-moments';

interface Case {
  options: { kl_coef?: number; kl_estimator?: 'k1' | 'k3'; whiten_rewards?: boolean; missing_eos_penalty?: number; gamma?: number; lam?: number };
  lengths: number[];
  width: number;
  eos: boolean[];
  inputs: Record<'logprobs' | 'ref_logprobs' | 'values', number[][]> & { scores: number[] };
  experience: Record<'advantages' | 'returns', number[][]>;
  metrics: Record<string, number>;
}

// Made by tools/fixtures/make-ppo-fixtures.py: lines of TRL 1.9.0 in float64
const { cases } = JSON.parse(readFileSync(new URL('../fixtures/ppo-trl-1.9.0.json', import.meta.url), 'utf8')) as { cases: Case[] };

function trajectory(id: string, tokens: readonly number[], more: Partial<ScoredTrajectory> = {}): ScoredTrajectory {
  return { id, group: id, seed: 0, tokens: Int32Array.from([1, 2, ...tokens]), trainable: Uint8Array.from([0, 0, ...tokens.map(() => 1)]), samplerLogps: null, versions: [], turns: [], finishReason: 'stop', rewards: {}, ...more };
}

describe('TRL 1.9.0 on random inputs: advantages, returns, logged objective', () => {
  it.each(cases.map((c, i) => [i, JSON.stringify(c.options), c] as const))('%i: %s', (_i, _name, c) => {
    const trajectories = c.lengths.map((length, r) => trajectory(String(r), new Array<number>(length).fill(5), { finishReason: c.eos[r] ? 'stop' : 'length' }));
    const { batch, rows } = packGroups(trajectories.map((t) => [t]));
    const flat = (table: number[][]) => Float32Array.from(c.lengths.flatMap((length, r) => table[r].slice(0, length)));
    // V after token t is TRL's value at t + 1; past the width there is none
    const after = Float32Array.from(c.lengths.flatMap((length, r) => Array.from({ length }, (_, t) => c.inputs.values[r][t + 1] ?? NaN)));
    const config = parsePPOFields({
      klCoef: c.options.kl_coef, klEstimator: c.options.kl_estimator, whitenRewards: c.options.whiten_rewards, missingEosPenalty: c.options.missing_eos_penalty, gamma: c.options.gamma, lam: c.options.lam,
    });
    const rewarded = rows.map((row, r): RewardedRow => ({ ...row, reward: { score: c.inputs.scores[r], perToken: null } }));
    const { metrics } = fillExperience(
      batch, rewarded,
      { oldLogps: flat(c.inputs.logprobs), refLogps: flat(c.inputs.ref_logprobs), values: flat(c.inputs.values), valuesAfter: after },
      { klCoef: config.klCoef, moments: noMoments, maxCompletionLength: c.width }, config,
    );
    const { advantages, returns, ended, endReturns } = batch.columns;
    rows.forEach(({ start, end }, r) => {
      for (let a = start; a < end; a++) {
        expect(advantages[a]).toBeCloseTo(c.experience.advantages[r][a - start], 5); // columns are float32
        expect(returns[a]).toBeCloseTo(c.experience.returns[r][a - start], 5);
      }
      expect(ended[end - 1]).toBe(Number(c.lengths[r] < c.width));
      if (ended[end - 1]) expect(endReturns[end - 1]).toBeCloseTo(c.experience.returns[r][c.lengths[r]], 5);
    });
    for (const name of ['objective/kl', 'objective/non_score_reward', 'objective/rlhf_reward', 'objective/scores', 'val/num_eos_tokens']) expect(metrics[name], name).toBeCloseTo(c.metrics[name], 5);
  });
});

describe('rewards', () => {
  const numbers = (count: number) => ({ oldLogps: new Float32Array(count).fill(-1), refLogps: null, values: new Float32Array(count), valuesAfter: null });
  const plain = { gamma: 1, lam: 1, whitenAdvantages: false, klCoef: 0 };
  const fill = (list: readonly ScoredTrajectory[], rewards: readonly RewardedRow['reward'][], input: Parameters<typeof parsePPOFields>[0] = {}, moments = noMoments): { batch: TokenBatch; moments: typeof noMoments } => {
    const { batch, rows } = packGroups(list.map((t) => [t]));
    const config = parsePPOFields({ ...plain, ...input });
    const made = fillExperience(batch, rows.map((row, r) => ({ ...row, reward: rewards[r] })), numbers(batch.actionIndex.length), { klCoef: 0, moments, maxCompletionLength: 8 }, config);
    return { batch, moments: made.moments };
  };

  it('fall where they are given: with γ = λ = 1 and V = 0 the returns are what is still to come', () => {
    const { batch } = fill([trajectory('a', [5, 6, 7])], [{ score: 1, perToken: Float64Array.of(0.5, 0, -0.25) }]);
    expect([...batch.columns.returns]).toEqual([1.25, 0.75, 0.75]);
    expect([...batch.columns.advantages]).toEqual([1.25, 0.75, 0.75]);
  });

  it('the penalty is for completions that were cut off alone', () => {
    const { batch } = fill([trajectory('a', [5]), trajectory('b', [5], { finishReason: 'length' })], [{ score: 1, perToken: null }, { score: 1, perToken: null }], { missingEosPenalty: 3 });
    expect([...batch.columns.returns]).toEqual([1, -2]);
  });

  it('scores are scaled by what was seen so far and then clipped', () => {
    const list = [trajectory('a', [5]), trajectory('b', [5])];
    const first = fill(list, [{ score: 2, perToken: null }, { score: 6, perToken: null }], { useScoreScaling: true });
    const std = Math.sqrt(8); // of 2 and 6
    expect([...first.batch.columns.returns]).toEqual([2 / std, 6 / std].map(Math.fround));
    const next = fill(list, [{ score: 4, perToken: null }, { score: 100, perToken: null }], { useScoreScaling: true, useScoreNorm: true, scoreClip: 1.25 }, first.moments);
    const all = [2, 6, 4, 100];
    const mean = all.reduce((a, b) => a + b) / 4;
    const deviation = Math.sqrt(all.reduce((a, b) => a + (b - mean) ** 2, 0) / 3);
    expect(next.batch.columns.returns[0]).toBeCloseTo((4 - mean) / deviation, 6);
    expect(next.batch.columns.returns[1]).toBe(1.25);
    expect(next.moments).toMatchObject({ mean, count: 4 });
  });

  it('metrics leave out what nothing scored', () => {
    const list = [trajectory('a', [5, 6], { rewards: { x: 1, y: null } }), trajectory('b', [5], { rewards: { x: null, y: null }, finishReason: 'length' })];
    const metrics = rewardMetrics(list, [1, null]);
    expect(metrics).toMatchObject({ reward: 1, 'rewards/unscorable': 1, 'rewards/x/mean': 1, 'completions/mean_length': 1.5, 'completions/mean_terminated_length': 2, 'completions/clipped_ratio': 0.5 });
    expect(metrics).not.toHaveProperty(['rewards/y/mean']);
  });
});
