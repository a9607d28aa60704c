import { constant, gradients, rowSum, sum, variable } from '@espalier/objectives';
import { defineObjective, EspalierError, type Metrics, type MetricSums, type Objective, type ScoredTrajectory, type TokenBatch } from '@espalier/spec';
import { weightedTotal, type OwningAlgorithm } from '@espalier/trainer';
import { parseOnlineDPOConfig, type OnlineDPOConfigInput } from './config';
import { dpoTerms, type DPOLossType } from './dpo-loss';
import { packPreferences } from './pack';
import { column, output, pairRows, type Side } from './pair-rows';
import type { PreferenceExample } from './rows';

type Groups = readonly (readonly ScoredTrajectory[])[];

/**
 * The loss of online DPO on pairs that the policy sampled: `sigmoid`, or `ipo` on sums (TRL's online form does not divide by lengths). Columns: `refLogps`,
 * `beta`, and `scores`, the reward of the completion that an action is of. Metrics under TRL's names.
 */
export function onlinePairObjective(name: string, lossType: DPOLossType): Objective {
  return defineObjective({
    name,
    needs: ['logps', 'entropy'],
    coupling: 'pair',
    evaluate(outputs, batch) {
      const logps = variable(output(outputs, 'logps', batch));
      const reference = constant(column(batch, 'refLogps'));
      const beta = Number((column(batch, 'beta')[0] ?? 0.1).toPrecision(7)); // a column is float32
      const { chosen, rejected, pairs } = pairRows(batch);
      const [c, r, refC, refR] = [rowSum(chosen.of(logps), chosen.rows), rowSum(rejected.of(logps), rejected.rows), rowSum(chosen.of(reference), chosen.rows), rowSum(rejected.of(reference), rejected.rows)];
      const ones = new Float64Array(pairs).fill(1); // no length counts
      const { loss, metrics } = dpoTerms(
        { chosen: c, rejected: r, refChosen: refC, refRejected: refR, chosenLengths: ones, rejectedLengths: ones, chosenTotal: sum(c), weights: null, normalizer: { pairs: batch.normalizer.sequences / 2, chosenTokens: batch.normalizer.tokens } },
        { lossType, beta },
      );
      const value = loss.item();
      const [slopes] = gradients(loss, [logps]);
      if (!Number.isFinite(value) || !slopes.every(Number.isFinite)) throw new EspalierError('internal', `the loss of ${name} is ${value}: the policy has moved too far`, { fix: 'a lower `learning_rate`, or another `beta`' });
      const kl = total(c.values) - total(refC.values) + total(r.values) - total(refR.values); // Σ log-ratios over all completions
      const weight = 2 * pairs;
      const scores = batch.columns.scores ? scoreOf(chosen, batch.columns.scores) + scoreOf(rejected, batch.columns.scores) : null;
      const online: MetricSums = {
        'objective/kl': { sum: kl, weight },
        'objective/non_score_reward': { sum: -beta * kl, weight },
        'objective/entropy': { sum: -total(c.values) - total(r.values), weight },
        ...(scores === null ? {} : { 'objective/rlhf_reward': { sum: scores - beta * kl, weight } }),
        beta: { sum: beta * pairs, weight: pairs },
        ...(outputs.entropy ? { entropy: { sum: total(outputs.entropy), weight: outputs.entropy.length } } : {}),
      };
      return { loss: value, grads: { logps: Float32Array.from(slopes) }, metrics: { ...metrics, ...online } };
    },
  });
}

const total = (values: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return sum;
};

/** Σ over the completions of a side of the score that their actions carry. */
function scoreOf(side: Side, scores: Float32Array): number {
  let sum = 0;
  for (let p = 0; p < side.rows.count; p++) sum += scores[side.index[side.rows.offsets[p]]];
  return sum;
}

/**
 * Prompt and completion of a trajectory.
 * @throws EspalierError `unsupported` for an episode of several turns: what tools and environment said between them would be taken for the policy's
 */
export function splitTrajectory({ id, tokens, trainable }: ScoredTrajectory): { prompt: Int32Array; completion: Int32Array } {
  const start = trainable.indexOf(1);
  if (start >= 0 && trainable.indexOf(0, start) >= 0) throw new EspalierError('unsupported', `trajectory ${id} is an episode of several turns, and pairs are of single completions`, { fix: 'GRPO, RLOO or PPO for environments and tools' });
  const at = start < 0 ? tokens.length : start;
  return { prompt: tokens.slice(0, at), completion: tokens.slice(at) };
}

/** A pair whose longer completion fits `maxLength`: what is too much is cut from the prompt's left (TRL). */
export function fitted(example: PreferenceExample, maxLength: number): PreferenceExample {
  const cut = Math.max(example.prompt.length + Math.max(example.chosen.length, example.rejected.length) - maxLength, 0);
  return cut === 0 ? example : { ...example, prompt: example.prompt.slice(cut), ...(example.rejectedPrompt ? { rejectedPrompt: example.rejectedPrompt.slice(cut) } : {}) };
}

/** Pairs as a batch with the columns of {@link onlinePairObjective}. */
export async function pairBatch(
  pairs: readonly { example: PreferenceExample; scores?: { chosen: number; rejected: number } }[],
  beta: number,
  reference: (batch: TokenBatch) => Promise<Float32Array>,
): Promise<TokenBatch> {
  const batch = packPreferences(pairs.map(({ example }) => example));
  const actions = batch.actionIndex.length;
  const { chosen, rejected } = pairRows(batch);
  const columns: Record<string, Float32Array> = { refLogps: await reference(batch), beta: new Float32Array(actions).fill(beta) };
  if (pairs.every(({ scores }) => scores)) {
    columns.scores = new Float32Array(actions);
    for (const [side, which] of [[chosen, 'chosen'], [rejected, 'rejected']] as const) {
      pairs.forEach(({ scores }, p) => {
        for (let i = side.rows.offsets[p]; i < side.rows.offsets[p + 1]; i++) columns.scores[side.index[i]] = scores![which];
      });
    }
  }
  return { ...batch, columns };
}

/** Rewards, completions and pairs under TRL's names. */
function pairMetrics(groups: Groups, rewards: readonly (readonly (number | null)[])[], pairs: readonly { chosen: number; rejected: number }[]): Metrics {
  const trajectories = groups.flat();
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const known = rewards.flat().filter((reward): reward is number => reward !== null);
  const metrics: Metrics = {
    'val/contain_eos_token': mean(trajectories.map(({ finishReason }) => Number(finishReason === 'stop'))),
    'completions/mean_length': mean(trajectories.map(({ trainable }) => trainable.reduce((a, b) => a + b, 0))),
    'completions/clipped_ratio': mean(trajectories.map(({ finishReason }) => Number(finishReason !== 'stop'))),
  };
  if (known.length > 0) metrics['objective/scores'] = metrics.reward = mean(known);
  if (pairs.length > 0) metrics['objective/scores_margin'] = mean(pairs.map(({ chosen, rejected }) => chosen - rejected));
  if (pairs.length < groups.length) metrics['objective/unranked_pairs'] = groups.length - pairs.length;
  const names = new Set(trajectories.flatMap((trajectory) => Object.keys(trajectory.rewards)));
  for (const name of names) {
    const values = trajectories.flatMap((trajectory) => {
      const reward = trajectory.rewards[name] ?? null;
      return reward === null ? [] : [typeof reward === 'number' ? reward : reward.total];
    });
    if (values.length > 0) metrics[`rewards/${name}/mean`] = mean(values);
  }
  return metrics;
}

/**
 * Online DPO as an algorithm: two completions a prompt, ranked by their reward (a tie: the first is chosen), and the DPO loss on the pair. A pair with a
 * completion that nothing could score is left out and counted. Log-probs are those of temperature 1, as in TRL.
 *
 * @param config TRL's `OnlineDPOConfig` in camelCase
 * @param options.epoch passes over the prompts so far, which choose among several `beta`s. Default 0
 * @throws EspalierError `bad_config`; `bad_data` when no pair of a generation could be ranked
 *
 * @example
 * const algorithm = onlineDpo({ beta: 0.1, maxNewTokens: 64 });
 * const { batch, metrics } = await algorithm.experience(groups, { step, learner, rewardWeights: {}, maxCompletionLength: 64, temperature: 0.9 });
 */
export function onlineDpo(config: OnlineDPOConfigInput = {}, options: { epoch?: () => number } = {}): OwningAlgorithm {
  const { beta: schedule, lossType, missingEosPenalty = 0, maxLength } = parseOnlineDPOConfig(config);
  const beta = () => (typeof schedule === 'number' ? schedule : schedule[Math.min(Math.floor((options.epoch?.() ?? 0) + 1e-9), schedule.length - 1)]);
  return {
    specVersion: 'v1',
    name: 'online_dpo',
    objective: onlinePairObjective('online_dpo', lossType),
    numIterations: 1,
    needsReference: true,
    lossTemperature: 1,
    async experience(groups, { learner, rewardWeights, signal }) {
      const rewards = groups.map((group) => group.map((trajectory) => {
        const reward = weightedTotal(trajectory.rewards, rewardWeights);
        return reward === null ? null : reward - (trajectory.finishReason === 'stop' ? 0 : missingEosPenalty);
      }));
      const pairs = groups.flatMap((group, g) => {
        if (group.length !== 2) throw new EspalierError('bad_data', `a prompt has ${group.length} completions, a pair is two`, { fix: '`num_generations` 2' });
        const [first, second] = rewards[g];
        if (first === null || second === null) return [];
        const sides = group.map(splitTrajectory);
        if (sides.some(({ completion }) => completion.length === 0)) return [];
        const best = first >= second ? 0 : 1;
        const example = fitted({ prompt: sides[0].prompt, chosen: sides[best].completion, rejected: sides[1 - best].completion }, maxLength);
        return [{ example, scores: { chosen: Math.max(first, second), rejected: Math.min(first, second) } }];
      });
      if (pairs.length === 0) throw new EspalierError('bad_data', `none of ${groups.length} pairs could be ranked: a reward is missing for each`, { fix: 'a reward function or judge that applies to these prompts' });
      const batch = await pairBatch(pairs, beta(), async (whole) => (await learner.forward(whole, ['logps'], { signal, reference: true })).logps!);
      return { batch, metrics: pairMetrics(groups, rewards, pairs.map(({ scores }) => scores)) };
    },
  };
}
