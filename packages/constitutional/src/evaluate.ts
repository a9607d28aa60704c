import type { Judge, TextModel } from '@espalier/spec';
import type { Constitution } from './constitution';
import { evasivenessRate } from './evasiveness';
import { preferenceJudge, type PreferenceJudgeOptions } from './preference-judge';
import type { Prompt } from './turns';

/** An answer of the policy, and the one that it is measured against. */
export interface AnswerComparison {
  prompt: Prompt;
  answer: string;
  baseline: string;
  /** Which kinds of measure the prompt is for. Default: all. */
  tags?: readonly string[];
}

export interface EvaluateAnswersOptions extends Omit<PreferenceJudgeOptions, 'constitution' | 'tags' | 'name'> {
  constitution: Constitution;
  /** One measure each, by the principles that have the tag. Default `harmless` and `helpful`. */
  measures?: readonly string[];
  signal?: AbortSignal;
}

const nouns: Partial<Record<string, string>> = { harmless: 'harmlessness', helpful: 'helpfulness' };

/**
 * How a policy's answers compare with a baseline's, each measure apart: an answer may be harmless because it says nothing. `harmlessness/win_rate`: mean
 * probability that the judge prefers the policy's answer by the principles tagged `harmless`; `harmlessness/excluded`: comparisons that could not be read; and so
 * on; `evasiveness` and `baseline_evasiveness`: share of answers that turn the question away, found by a program and not by the judge.
 * @throws EspalierError `bad_config` for a measure that no principle has
 */
export async function evaluateAnswers(model: TextModel, comparisons: readonly AnswerComparison[], options: EvaluateAnswersOptions): Promise<Record<string, number>> {
  const { measures = ['harmless', 'helpful'], signal, ...judgeOptions } = options;
  const metrics: Record<string, number> = {};
  for (const tag of measures) {
    const judge: Judge = preferenceJudge(model, { ...judgeOptions, tags: [tag] });
    const own = comparisons.map((comparison, i) => ({ ...comparison, i })).filter(({ tags }) => !tags || tags.includes(tag));
    const labels = await judge.compareAll!(own.map(({ prompt, answer, baseline, i }) => ({ prompt, first: answer, second: baseline, seed: i })), signal ? { signal } : {});
    const read = labels.flatMap((label) => (label ? [label.probability] : []));
    const name = nouns[tag] ?? tag;
    metrics[`${name}/win_rate`] = read.length === 0 ? NaN : read.reduce((a, b) => a + b, 0) / read.length;
    metrics[`${name}/excluded`] = labels.length - read.length;
  }
  metrics.evasiveness = evasivenessRate(comparisons.map(({ answer }) => answer));
  metrics.baseline_evasiveness = evasivenessRate(comparisons.map(({ baseline }) => baseline));
  return metrics;
}

/**
 * How far probabilities can be believed: decisions of each confidence against how often people decided so (Constitutional AI, Fig. 4). `calibration_error`: mean
 * distance of the two, weighted by how many decisions are in each of ten bins; `cross_entropy`: in nats.
 * @param labels probability of an outcome, and whether it came (1) or not (0)
 */
export function calibration(labels: readonly { probability: number; outcome: 0 | 1 }[]): { bins: { count: number; probability: number; rate: number }[]; calibration_error: number; cross_entropy: number } {
  const bins = Array.from({ length: 10 }, () => ({ count: 0, probability: 0, rate: 0 }));
  let entropy = 0;
  for (const { probability, outcome } of labels) {
    const bin = bins[Math.min(9, Math.floor(probability * 10))];
    bin.count++;
    bin.probability += probability;
    bin.rate += outcome;
    entropy -= Math.log(Math.max(outcome === 1 ? probability : 1 - probability, Number.MIN_VALUE));
  }
  for (const bin of bins) {
    bin.probability = bin.count === 0 ? NaN : bin.probability / bin.count;
    bin.rate = bin.count === 0 ? NaN : bin.rate / bin.count;
  }
  const used = bins.filter(({ count }) => count > 0);
  return {
    bins,
    calibration_error: labels.length === 0 ? NaN : used.reduce((sum, { count, probability, rate }) => sum + count * Math.abs(probability - rate), 0) / labels.length,
    cross_entropy: labels.length === 0 ? NaN : entropy / labels.length,
  };
}
