import type { Dataset } from '@espalier/data';
import type { Engine } from '@espalier/engine';
import { localRolloutEngine } from '@espalier/rollouts';
import { EspalierError, type SamplingOptions } from '@espalier/spec';
import { allPrompts, evaluateReward, passAtK, promptSource, type EvaluateRewardOptions, type RewardEvaluation, type WeightedReward } from '@espalier/trainer';
import { rowsInterval, type Interval } from './intervals';
import { scoreText } from './score-text';

export interface EvaluatePolicyOptions {
  rows: Dataset;
  /** May be empty when `text` is given. */
  rewards: readonly WeightedReward[];
  /** Completions a prompt. Default 1. */
  samples?: number;
  /** Default: greedy for one sample a prompt, temperature 1 for more; 256 new tokens, or half of the model's positions where that is less. */
  sampling?: SamplingOptions;
  seed?: number;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/** What was measured, with 95 % intervals. */
export interface PolicyEvaluation extends RewardEvaluation {
  /** Of the accuracy: see {@link rowsInterval}. Null where no completion could be judged. */
  accuracyInterval: Interval | null;
  /** Of pass@k, by k. */
  passIntervals: Record<number, Interval | null>;
}

/** 1, 2, 4 … and `samples` itself. */
export function passCounts(samples: number): number[] {
  const counts: number[] = [];
  for (let k = 1; k < samples; k *= 2) counts.push(k);
  counts.push(samples);
  return counts;
}

/**
 * Generates for every row and scores: mean reward a function, accuracy (the share of completions whose first reward is at least 1), pass@k, each share with its interval.
 * @throws EspalierError `bad_data` for a row without a prompt, what engine and rewards throw
 */
export async function evaluatePolicy(engine: Engine, options: EvaluatePolicyOptions): Promise<PolicyEvaluation> {
  const sampling = { maxNewTokens: Math.min(256, engine.info.maxPositions >> 1), ...options.sampling };
  return evaluateRollouts({
    ...options,
    sampling,
    rollouts: localRolloutEngine(engine),
    prompts: allPrompts(promptSource(options.rows, engine.tokenizer, { maxTokens: engine.info.maxPositions - sampling.maxNewTokens })),
  });
}

/** {@link evaluatePolicy} with any rollout engine, on prompts that are token ids. */
export async function evaluateRollouts(options: Omit<EvaluatePolicyOptions, 'rows'> & Pick<EvaluateRewardOptions, 'rollouts' | 'prompts'>): Promise<PolicyEvaluation> {
  const samples = options.samples ?? 1;
  const sampling = { temperature: samples > 1 ? 1 : 0, ...options.sampling };
  if (samples > 1 && sampling.temperature === 0) throw new EspalierError('bad_config', `${samples} samples at temperature 0 are ${samples} times the same`, { fix: 'a temperature above 0, or one sample' });
  const passAt = passCounts(samples);
  const verdicts: (boolean | null)[] = []; // of each completion, a row's one after another
  const evaluation = await evaluateReward({
    rollouts: options.rollouts,
    prompts: options.prompts,
    rewards: options.rewards,
    samples,
    passAt,
    sampling,
    seed: options.seed ?? 42,
    isCorrect: (rewards) => {
      const first = Object.values(rewards).find((reward) => reward !== null) ?? null;
      const verdict = first === null ? null : first >= 1;
      verdicts.push(verdict);
      return verdict;
    },
    ...(options.signal ? { signal: options.signal } : {}),
    ...(options.onProgress ? { onProgress: options.onProgress } : {}),
  });
  const rows = Array.from({ length: evaluation.rows }, (_, r) => verdicts.slice(r * samples, (r + 1) * samples).filter((verdict) => verdict !== null)).filter((judged) => judged.length > 0);
  const right = rows.map((judged) => judged.filter(Boolean).length);
  const passes = (k: number) => rows.flatMap(({ length }, i) => (length >= k ? [passAtK(length, right[i], k)] : []));
  return {
    ...evaluation,
    accuracyInterval: rowsInterval(rows.map(({ length }, i) => right[i] / length), samples),
    passIntervals: Object.fromEntries(passAt.map((k) => [k, rowsInterval(passes(k), Math.floor(samples / k))])),
  };
}

/** Mean negative log-likelihood and perplexity over several texts, each token weighing the same. */
export async function perplexityOf(engine: Engine, texts: readonly string[], options: { maxLength?: number; signal?: AbortSignal; onProgress?: (done: number, total: number) => void } = {}): Promise<{ nll: number; perplexity: number; tokens: number }> {
  let sum = 0;
  let tokens = 0;
  for (const [i, text] of texts.entries()) {
    const score = await scoreText(engine, text, options);
    sum += score.nll * score.logps.length;
    tokens += score.logps.length;
    options.onProgress?.(i + 1, texts.length);
  }
  return { nll: sum / tokens, perplexity: Math.exp(sum / tokens), tokens };
}
