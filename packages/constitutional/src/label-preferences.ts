import { hash32 } from '@espalier/data';
import { EspalierError, type Judge, type TextModel } from '@espalier/spec';
import { policyPrompt } from './critique-revise';
import type { PreferenceLabel, Reading } from './preference-judge';
import { runRows, type RowJobOptions } from './row-job';
import { completionColumn, plainStops, type Prompt, type PromptFormat } from './turns';

/** Two answers to one prompt. */
export interface AnswerPair {
  prompt: Prompt;
  first: string;
  second: string;
  /** What people said, when they were asked: agreement is measured against it. */
  preferred?: 'first' | 'second';
}

export interface SamplePairsOptions extends RowJobOptions {
  /** What the policy is; a log of another is not resumed. */
  policyName?: string;
  /** Pairs a prompt. Default 1. */
  pairsPerPrompt?: number;
  /** Default 1. */
  temperature?: number;
  /** In tokens. Default 256. */
  maxCompletionLength?: number;
  /** Draws until the two differ. Default 3. */
  attempts?: number;
  /** Default `chat`. */
  format?: PromptFormat;
}

export interface SampledPair extends AnswerPair {
  index: number;
  /** Number of the prompt. */
  row: number;
  seed: number;
  excluded?: string;
}

/**
 * Two answers of the policy to each prompt. One that reaches `maxCompletionLength` ends with its last whole sentence. A pair whose answers stay the same, or empty, is excluded.
 * @throws EspalierError `bad_config`, `aborted`, and what the model throws
 */
export async function samplePairs(policy: TextModel, prompts: readonly Prompt[], options: SamplePairsOptions = {}): Promise<SampledPair[]> {
  const { policyName, pairsPerPrompt = 1, temperature = 1, maxCompletionLength = 256, attempts = 3, format = 'chat', seed = 0, signal } = options;
  if (!(temperature > 0)) throw new EspalierError('bad_config', `\`temperature\` is ${temperature}: two answers would be the same`, { fix: 'a number above 0' });
  const items = prompts.flatMap((prompt, row) => Array.from({ length: pairsPerPrompt }, () => ({ prompt, row })));
  return runRows('pairs', items, { policyName, pairsPerPrompt, temperature, maxCompletionLength, wholeSentences: true, attempts, format }, options, async (batch) => {
    const pairs = batch.map(({ index, item }): SampledPair => ({ index, row: item.row, prompt: item.prompt, first: '', second: '', seed }));
    const alike = () => pairs.filter(({ first, second }) => first === second || first === '' || second === '');
    for (let attempt = 0; attempt < attempts && alike().length > 0; attempt++) {
      const drawn = alike();
      const asked = drawn.flatMap((pair) => [0, 1].map((k) => ({ pair, k })));
      const texts = await policy.complete(asked.map(({ pair }) => policyPrompt(pair.prompt, format)), {
        maxNewTokens: maxCompletionLength,
        temperature,
        wholeSentences: true,
        seeds: asked.map(({ pair, k }) => hash32(seed, pair.index, attempt, 0x9a12, k)),
        ...(format === 'plain' ? { stop: plainStops } : {}),
        ...(signal ? { signal } : {}),
      });
      drawn.forEach((pair, i) => {
        pair.first = texts[2 * i].trim();
        pair.second = texts[2 * i + 1].trim();
      });
    }
    for (const pair of alike()) pair.excluded = pair.first === pair.second ? 'both answers are the same' : 'an answer is empty';
    return pairs;
  });
}

export interface LabelPreferencesOptions extends RowJobOptions {
  /** What the judge's model is; a log of another is not resumed. */
  judgeName?: string;
}

export interface LabelledPair extends AnswerPair {
  index: number;
  /** That `first` is the better one; null when the pair is excluded. */
  probability: number | null;
  details?: PreferenceLabel['details'] | Record<string, unknown>;
  excluded?: string;
}

/**
 * Soft labels for pairs. A pair that the judge cannot be read on is excluded, and stays so on `resume`.
 * @throws EspalierError `aborted`, what the judge throws, and `bad_data` for a judge whose probability is not one
 */
export async function labelPreferences(judge: Judge, pairs: readonly AnswerPair[], options: LabelPreferencesOptions = {}): Promise<LabelledPair[]> {
  const { judgeName, seed = 0, signal } = options;
  const how = signal ? { signal } : {};
  const items = pairs.map(({ prompt, first, second, preferred }): AnswerPair => ({ prompt, first, second, ...(preferred ? { preferred } : {}) }));
  const identity = { judge: judge.name, judgeName, settings: 'settings' in judge ? judge.settings : undefined };
  return runRows('preference-labels', items, identity, options, async (batch) => {
    const questions = batch.map(({ index, item }) => ({ prompt: item.prompt, first: item.first, second: item.second, seed: hash32(seed, index) }));
    const labels = judge.compareAll ? await judge.compareAll(questions, how) : await Promise.all(questions.map((question) => judge.compare(question, how)));
    return batch.map(({ index, item }, i): LabelledPair => {
      const label = labels[i];
      if (label === null) return { index, ...item, probability: null, excluded: 'the judge could not be read' };
      if (!(label.probability >= 0 && label.probability <= 1)) throw new EspalierError('bad_data', `judge "${judge.name}" gave the probability ${label.probability}`, { fix: 'a number from 0 to 1, or null' });
      return { index, ...item, probability: label.probability, ...(label.details ? { details: label.details } : {}) };
    });
  });
}

/** A preference row, with a soft label unless hard ones were asked for. */
export interface SoftPreferenceRow extends Record<string, unknown> {
  prompt: Prompt;
  chosen: ReturnType<typeof completionColumn>;
  rejected: ReturnType<typeof completionColumn>;
  /** Probability that `chosen` is the better one: 0.5 to 1. */
  soft_label?: number;
  provenance: { method: 'ai-preference'; judge: string; row: number; chosenWas: 'first' | 'second' } & Record<string, unknown>;
}

export interface PreferenceRowsOptions {
  /**
   * `soft`: rows carry the judge's probability as `soft_label`; `hard`: the better answer alone is told, for a judge whose order can be trusted and whose
   * probabilities say little. Default `soft`.
   */
  labels?: 'soft' | 'hard';
  /** Pairs whose probability is nearer to 0.5 than this give no row. Default 0. */
  margin?: number;
  /** Added to the provenance of every row. */
  provenance?: Record<string, unknown>;
}

/** Labelled pairs as preference rows, the likelier answer as `chosen`, with principle, order and log-probs of every reading. Excluded and undecided pairs give none. */
export function preferenceRows(labelled: readonly LabelledPair[], judge: string, options: PreferenceRowsOptions = {}): SoftPreferenceRow[] {
  const { labels = 'soft', margin = 0, provenance } = options;
  return labelled.flatMap(({ index, prompt, first, second, probability, details }) => {
    if (probability === null || Math.abs(probability - 0.5) < margin) return [];
    const chosenWas = probability >= 0.5 ? 'first' : 'second';
    const [chosen, rejected] = chosenWas === 'first' ? [first, second] : [second, first];
    return [{ prompt, chosen: completionColumn(prompt, chosen), rejected: completionColumn(prompt, rejected), ...(labels === 'soft' ? { soft_label: Math.max(probability, 1 - probability) } : {}), provenance: { method: 'ai-preference', judge, row: index, chosenWas, ...provenance, ...details } }];
  });
}

/**
 * What the labels are like. `position_bias`: mean probability of (A) minus 0.5, which a judge without a preference for a letter has at 0; `order_disagreement`:
 * share of questions whose better answer changes with the order; `agreement`: share of pairs that the judge decides as people did (a tie counts half).
 */
export function labelMetrics(labelled: readonly LabelledPair[]): Record<string, number> {
  const read = labelled.filter((pair): pair is LabelledPair & { probability: number } => pair.probability !== null);
  const mean = (values: readonly number[]) => (values.length === 0 ? NaN : values.reduce((a, b) => a + b, 0) / values.length);
  const readings = read.flatMap(({ details }) => (details && 'readings' in details ? [details.readings as Reading[]] : []));
  const swapped = readings.flatMap((list) => {
    const back = list.filter(({ order }) => order === 'second_first');
    return list.filter(({ order }) => order === 'first_second').flatMap((there) => back.filter(({ principle }) => principle === there.principle).map((other) => (there.probability > 0.5 !== other.probability > 0.5 ? 1 : 0)));
  });
  const judged = read.filter(({ preferred }) => preferred !== undefined);
  return {
    pairs: labelled.length,
    excluded: labelled.length - read.length,
    soft_label: mean(read.map(({ probability }) => Math.max(probability, 1 - probability))),
    position_bias: mean(readings.flat().map(({ probabilityOfA }) => probabilityOfA)) - 0.5,
    order_disagreement: mean(swapped),
    agreement: mean(judged.map(({ probability, preferred }) => (probability === 0.5 ? 0.5 : probability > 0.5 === (preferred === 'first') ? 1 : 0))),
  };
}
