import { defineReward, type Reward, type RewardFunction, type RewardSample, type TokenBatch } from '@espalier/spec';
import { predictionOf, prefixMatches, type PrefixMatchOptions } from '../prefix-match';
import type { PredictionReward } from './fields';

/** What rewards on single tokens need to know: how a prediction begins in tokens, and how likely a model without a thought finds that. */
export interface PredictionModel {
  encode(text: string): Int32Array;
  /** Log-prob (nats) of each action. */
  logps(batch: TokenBatch, signal?: AbortSignal): Promise<Float32Array>;
}

export interface PredictionRewardOptions extends PrefixMatchOptions {
  /** Default `prefix`. */
  kind?: PredictionReward;
  /** For all kinds but `prefix`; asked on every call. */
  model?: () => PredictionModel;
}

interface Judged {
  sample: RewardSample;
  prediction: string | null;
  correct: boolean;
}

/**
 * What a prediction of the text that follows is paid: the reward of Reinforcement Pre-Training (Dong et al. 2025, 2506.08007, §3.1) and those of its appendix A.
 *
 * - `prefix`: 1 iff the bytes of the prediction begin the true continuation and end at a token boundary of it ({@link prefixMatchReward})
 * - `first-token`: 1 iff its first token is the first of the continuation
 * - `dense`: 1 as in `prefix`; else the probability that the policy without a thought gives to the first token predicted
 * - `dense-if-correct`: the same in groups in which one prediction is right; 0 in the others
 *
 * Rows as `corpusQuestions` makes them; null without.
 */
export function predictionReward(options: PredictionRewardOptions = {}): RewardFunction {
  const { kind = 'prefix' } = options;
  return defineReward({
    name: options.name ?? 'prediction',
    async score(samples, { signal }) {
      const judged = samples.map((sample): Judged | null => {
        const correct = prefixMatches(sample.completion, sample.row, options);
        if (correct === null) return null;
        const prediction = predictionOf(sample.completion, options);
        return { sample, prediction, correct: kind === 'first-token' ? beginsRight(prediction, sample.row, options.model!()) : correct };
      });
      const partial = kind.startsWith('dense') ? await probabilities(judged, options.model!(), signal) : null;
      const solved = new Set(judged.flatMap((entry) => (entry?.correct ? [entry.sample.group] : [])));
      return judged.map((entry, i): Reward | null => {
        if (!entry) return null;
        const pays = !entry.correct && partial !== null && (kind === 'dense' || solved.has(entry.sample.group));
        return partial === null ? Number(entry.correct) : { total: entry.correct ? 1 : pays ? partial[i] : 0, components: { correct: Number(entry.correct) } };
      });
    },
  });
}

function beginsRight(prediction: string | null, row: Record<string, unknown>, model: PredictionModel): boolean {
  const truth = row.continuation_tokens;
  return prediction !== null && prediction !== '' && Array.isArray(truth) && model.encode(prediction)[0] === truth[0];
}

/** Of the first token of each wrong prediction; 0 where there is none. */
async function probabilities(judged: readonly (Judged | null)[], model: PredictionModel, signal: AbortSignal | undefined): Promise<number[]> {
  const found = new Array<number>(judged.length).fill(0);
  const tokens: number[] = [];
  const offsets = [0];
  const actionIndex: number[] = [];
  const places: number[] = [];
  judged.forEach((entry, i) => {
    const context = entry?.sample.row.context_tokens;
    if (!entry || entry.correct || !entry.prediction || !Array.isArray(context) || context.length === 0) return;
    tokens.push(...(context as number[]), model.encode(entry.prediction)[0]);
    actionIndex.push(tokens.length - 1);
    offsets.push(tokens.length);
    places.push(i);
  });
  if (places.length === 0) return found;
  const logps = await model.logps({ tokens: Int32Array.from(tokens), offsets: Int32Array.from(offsets), actionIndex: Int32Array.from(actionIndex), columns: {}, normalizer: { tokens: places.length, sequences: places.length } }, signal);
  places.forEach((i, a) => (found[i] = Math.exp(logps[a])));
  return found;
}
