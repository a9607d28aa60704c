import { collectEpisodes, transcript, type EpisodeTask, type PromptText } from '@espalier/rollouts';
import { EspalierError, throwIfAborted, type RewardFunction, type RolloutEngine, type SamplingOptions } from '@espalier/spec';
import { rewardsBeside, type OnlineEnvironment } from './environment/open-environment';
import { scoreEpisodes } from './environment/score-episodes';
import type { Row, TaskPrompt } from './prompts';
import { rewardTotal, scoreSamples, weightedRewards, weightedTotal, type WeightedReward } from './rewards';
import { deriveSeed } from './seeds';

export interface EvaluateRewardOptions {
  rollouts: RolloutEngine;
  prompts: readonly TaskPrompt[];
  /** What episodes run in; its own reward stands by its name beside those of the functions, of which there may be none. */
  environment?: OnlineEnvironment | null;
  rewards: readonly (RewardFunction | WeightedReward)[];
  /** Scored besides, and no part of any other number. */
  gold?: RewardFunction;
  /** Default: greedy. */
  sampling?: SamplingOptions;
  /** Completions a prompt. Default 1. */
  samples?: number;
  /** pass@k for these k up to `samples`. Default: 1 and `samples`. */
  passAt?: readonly number[];
  seed?: number;
  /** Training step, for reward functions that look at it. Default 0. */
  step?: number;
  /** Prompts handed to the engine at once; it schedules them itself. Default 256. */
  batchSize?: number;
  /** Whether a completion counts as right for accuracy and pass@k. Default: its first reward that applies is at least 1. */
  isCorrect?: (rewards: Readonly<Record<string, number | null>>) => boolean | null;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

export interface EvaluatedSample {
  prompt: PromptText;
  completion: string;
  /** Weighted sum; null when no function applied. */
  reward: number | null;
  rewards: Record<string, number | null>;
  finishReason: string;
}

export interface RewardEvaluation {
  /** Mean of the weighted sums, over the completions that have one. */
  reward: number;
  /** The gold reward: its mean over the completions that it applied to, and the standard error of that. */
  gold?: { mean: number; error: number };
  /** Mean of each function, over the completions that it applied to; NaN when to none. */
  rewards: Record<string, number>;
  /** Share of right completions among those that could be judged. */
  accuracy: number;
  /** pass@k by k: the unbiased estimate 1 − C(n−c, k) / C(n, k) of Chen et al. 2021 (2107.03374), eq. 1, averaged over prompts. */
  passAt: Record<number, number>;
  rows: number;
  completions: number;
  /** Completions that no function applied to. */
  unscorable: number;
  meanLength: number;
  /** Share of completions cut off at the limit of length. */
  clippedRatio: number;
  /** Replies an episode, in an environment. */
  meanTurns?: number;
  /** The first completion of each of the first prompts. */
  examples: EvaluatedSample[];
}

/**
 * Unbiased estimate of the chance that at least one of `k` completions is right, from `c` right ones of `n`.
 * @example
 * passAtK(10, 3, 1); // 0.3
 */
export function passAtK(n: number, c: number, k: number): number {
  if (k > n) return NaN;
  if (n - c < k) return 1;
  let allWrong = 1;
  for (let i = n - c + 1; i <= n; i++) allWrong *= 1 - k / i;
  return 1 - allWrong;
}

/**
 * Generates and scores: mean reward, accuracy, pass@k. The numbers do not depend on the order in which completions finish.
 * @throws EspalierError what engine and reward functions throw; `bad_data` when there are no prompts
 * @example
 * const { accuracy } = await evaluateReward({ rollouts, prompts, rewards: [numericReward()], sampling: { maxNewTokens: 24, temperature: 0 } });
 */
export async function evaluateReward(options: EvaluateRewardOptions): Promise<RewardEvaluation> {
  const { rollouts, prompts, samples: n = 1, seed = 0, step = 0, batchSize = 256, signal } = options;
  if (prompts.length === 0) throw new EspalierError('bad_data', 'there are no rows to evaluate on');
  const environment = options.environment ?? null;
  const rewards = rewardsBeside(environment, options.rewards);
  const weights = Object.fromEntries(rewards.map(({ reward, weight }) => [reward.name, weight]));
  const sampling = { temperature: 0, ...options.sampling };
  const isCorrect = options.isCorrect ?? firstAtLeastOne;
  const passAt = [...new Set(options.passAt ?? [1, n])].filter((k) => k >= 1 && k <= n);

  const mean = (values: readonly number[]) => (values.length > 0 ? values.reduce((a, b) => a + b, 0) / values.length : NaN);
  const gold = options.gold && weightedRewards([options.gold]);
  const golds: number[] = [];
  const totals: number[] = [];
  const byName: Record<string, number[]> = Object.fromEntries([...rewards.map(({ reward }) => reward.name), ...(environment ? [environment.name] : [])].map((name) => [name, []]));
  const right: number[] = [];
  const lengths: number[] = [];
  const turns: number[] = [];
  const passes: Record<number, number[]> = Object.fromEntries(passAt.map((k) => [k, []]));
  const examples: EvaluatedSample[] = [];
  let unscorable = 0;
  let clipped = 0;
  for (let start = 0; start < prompts.length; start += batchSize) {
    throwIfAborted(signal);
    const tasks = prompts.slice(start, start + batchSize).map((prompt, i): EpisodeTask<Row> => ({ ...prompt, id: `eval-${step}-${start + i}`, seed: deriveSeed(seed, start + i) }));
    const groups = await collectEpisodes(rollouts, tasks, {
      n,
      sampling,
      signal,
      ...(environment ? { environment } : {}),
      onEpisode: (_, done) => options.onProgress?.(start * n + done, prompts.length * n),
    });
    const flat = await scoreEpisodes(groups, rewards, environment, { step, signal, evaluation: true });
    const whole = flat.filter(({ episode }) => episode.failure === null);
    if (gold) for (const scores of await scoreSamples(gold, whole.map(({ sample }) => sample), { step, signal, evaluation: true })) for (const score of Object.values(scores)) if (score !== null) golds.push(rewardTotal(score));
    for (let g = 0; g < groups.length; g++) {
      let judged = 0;
      let correct = 0;
      for (let k = 0; k < n; k++) {
        const { episode, rewards: scored } = flat[g * n + k];
        const values = Object.fromEntries(Object.entries(scored).map(([name, reward]) => [name, reward === null ? null : rewardTotal(reward)]));
        const total = weightedTotal(scored, weights);
        const verdict = isCorrect(values);
        if (total === null) unscorable++;
        else totals.push(total);
        for (const [name, value] of Object.entries(values)) if (value !== null) byName[name].push(value);
        if (verdict !== null) {
          judged++;
          correct += verdict ? 1 : 0;
          right.push(verdict ? 1 : 0);
        }
        lengths.push(episode.completion.tokens.length);
        turns.push(episode.replies.length);
        clipped += episode.finishReason === 'length' ? 1 : 0;
        if (k === 0 && examples.length < 8) examples.push({ prompt: episode.prompt, completion: environment ? transcript(episode) : episode.completion.text, reward: total, rewards: values, finishReason: episode.finishReason });
      }
      for (const k of passAt) if (judged >= k) passes[k].push(passAtK(judged, correct, k));
    }
  }
  return {
    reward: mean(totals),
    ...(gold ? { gold: { mean: mean(golds), error: Math.sqrt(mean(golds.map((value) => (value - mean(golds)) ** 2)) / Math.max(golds.length, 1)) } } : {}),
    rewards: Object.fromEntries(Object.entries(byName).map(([name, values]) => [name, mean(values)])),
    accuracy: mean(right),
    passAt: Object.fromEntries(passAt.map((k) => [k, mean(passes[k])])),
    rows: prompts.length,
    completions: lengths.length,
    unscorable,
    meanLength: mean(lengths),
    clippedRatio: clipped / lengths.length,
    ...(environment ? { meanTurns: mean(turns) } : {}),
    examples,
  };
}

function firstAtLeastOne(rewards: Readonly<Record<string, number | null>>): boolean | null {
  const first = Object.values(rewards).find((reward) => reward !== null);
  return first === undefined || first === null ? null : first >= 1;
}
