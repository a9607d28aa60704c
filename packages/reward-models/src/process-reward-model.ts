import { EspalierError, type RewardSample } from '@espalier/spec';
import type { Engine } from '@espalier/engine';
import { sigmoidOf } from './reward-loss';
import { served, type RewardModel, type RewardModelOptions } from './reward-model';
import { scoresAt } from './scoring';
import { encodeSteps } from './steps';
import { tokenizing } from './tokenizing';

export const stepAggregations = ['min', 'prod', 'mean', 'last'] as const;
/** How the probabilities of the steps become one number. */
export type StepAggregation = (typeof stepAggregations)[number];

/** What {@link processRewardModel} takes. */
export interface ProcessRewardModelOptions extends RewardModelOptions {
  /** What parts the steps of a completion; that of the training. Default `\n`. */
  stepSeparator?: string;
  /** Default `min`, a chain is as strong as its weakest step; `prod`: the probability that all are right (2305.20050). */
  aggregation?: StepAggregation;
  /** Give each step's probability at its last token, for algorithms with dense rewards. The policy must have the tokenizer of this model. Default false. */
  perToken?: boolean;
}

/**
 * A trained process reward model as a reward function: the completion is cut into steps, each gets the probability that it is right, σ(score), and the
 * reward is their aggregate, normalised and clipped. Components: `raw`. Empty steps are left out; a completion without any, or too long, gets null.
 *
 * @throws EspalierError `bad_config`; as `rewardModel` when scoring; `bad_data` for `perToken` where the completion's tokens are not those of this tokenizer
 *
 * @example
 * const reward = processRewardModel({ model: 'my-prm', stepSeparator: '\n', aggregation: 'prod', perToken: true });
 */
export function processRewardModel(options: ProcessRewardModelOptions): RewardModel {
  const { stepSeparator = '\n', aggregation = 'min', perToken = false } = options;
  if (stepSeparator === '') throw new EspalierError('bad_config', '`step_separator` is empty', { fix: 'the separator of the training' });
  if (!stepAggregations.includes(aggregation)) throw new EspalierError('bad_config', `aggregation ${JSON.stringify(aggregation)} is unknown`, { fix: `one of ${stepAggregations.join(', ')}` });
  return served(options, 'process_reward_model', async (engine, samples, signal) => {
    const { tokenizer, maxLength } = tokenizing(engine, options.maxLength ?? null);
    const parts = samples.map((sample) => {
      const steps = stepsOf(sample.completion, stepSeparator);
      const encoded = encodeSteps(sample.prompt, steps.map(({ text }) => text), tokenizer, { stepSeparator, maxLength: null }); // prettier-ignore
      return encoded.tokens.length <= maxLength ? { group: sample.group, steps, tokens: encoded.tokens, at: encoded.ends } : { steps: [], tokens: new Int32Array(0), at: new Int32Array(0) };
    });
    const scores = await scoresAt(engine, parts, signal);
    return parts.map(({ steps }, i) => {
      if (steps.length === 0) return null;
      const probabilities = scores[i].map(sigmoidOf);
      return { raw: aggregate(probabilities, aggregation), ...(perToken && { perToken: atTokens(engine, samples[i], steps, probabilities) }), note: probabilities.map((p) => p.toFixed(3)).join(' ') };
    });
  });
}

interface Step {
  text: string;
  /** Characters of the completion up to the end of the step, its separator included. */
  end: number;
}

function stepsOf(completion: string, separator: string): Step[] {
  let end = 0;
  return completion
    .split(separator)
    .map((text): Step => {
      end = Math.min(end + text.length + separator.length, completion.length);
      return { text, end };
    })
    .filter(({ text }) => text.trim() !== '');
}

function aggregate(probabilities: readonly number[], how: StepAggregation): number {
  if (how === 'min') return Math.min(...probabilities);
  if (how === 'prod') return probabilities.reduce((product, p) => product * p, 1);
  if (how === 'last') return probabilities[probabilities.length - 1];
  return probabilities.reduce((sum, p) => sum + p, 0) / probabilities.length;
}

/** Each step's probability at the token with which its text is complete; 0 elsewhere. */
function atTokens({ tokenizer }: Engine, { completion, completionTokens }: RewardSample, steps: readonly Step[], probabilities: readonly number[]): Float32Array {
  const text = (count: number) => tokenizer.decode(completionTokens.subarray(0, count), { skipSpecialTokens: true });
  if (text(completionTokens.length) !== completion) throw new EspalierError('bad_data', 'the tokens of a completion are not its text to the tokenizer of the process reward model', { fix: '`perToken: false`, or a policy with the same tokenizer' });
  const values = new Float32Array(completionTokens.length);
  let token = 0;
  steps.forEach(({ end }, s) => {
    while (token < completionTokens.length - 1 && text(token + 1).length < end) token++;
    values[token] += probabilities[s];
  });
  return values;
}
