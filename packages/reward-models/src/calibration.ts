import { EspalierError } from '@espalier/spec';
import { checkNumbers, sigmoidOf } from './reward-loss';

/** Rewards of pairs, one of each a pair. */
export interface PairRewards {
  chosenRewards: readonly number[];
  rejectedRewards: readonly number[];
  /** Probability that the chosen one is better. Default 1. */
  labels?: readonly number[];
}

/** Pairs whose confidence falls between two bounds. */
export interface ReliabilityBin {
  from: number;
  to: number;
  count: number;
  /** Mean σ(|r_c − r_r|): how often the model says that it is right. NaN without pairs. */
  confidence: number;
  /** How often it is. NaN without pairs. */
  accuracy: number;
}

export interface Calibration {
  accuracy: number;
  /** Σ share of a bin · |accuracy − confidence| (Guo et al. 2017, eq. 3). */
  ece: number;
  /** The largest |accuracy − confidence| of a bin. */
  mce: number;
  /** Mean (σ(r_c − r_r) − label)². */
  brier: number;
  /** A reliability diagram: bins of the same width from ½, a guess, to 1. */
  bins: readonly ReliabilityBin[];
  /** What rewards are to be divided by for the least negative log-likelihood (Guo et al. 2017, §4.2). Infinity where the model is no better than chance, 0 where it is always right. */
  temperature: number;
}

/**
 * Whether a reward model is as often right as it says: Bradley and Terry's σ(r_c − r_r) as the confidence in the better one, against how often that one was
 * chosen. A tie is right half of the time.
 *
 * @param options.bins of the reliability diagram. Default 10
 * @throws EspalierError `bad_data` for no pairs or numbers that are not finite, `bad_config` for no bins
 *
 * @example
 * const { ece, bins, temperature } = calibration({ chosenRewards, rejectedRewards });
 */
export function calibration(pairs: PairRewards, options: { bins?: number } = {}): Calibration {
  const count = options.bins ?? 10;
  if (!Number.isInteger(count) || count < 1) throw new EspalierError('bad_config', `a reliability diagram of ${count} bins`, { fix: 'a whole number from 1; 10 is usual' });
  const { ahead, labels } = aheadOf(pairs);
  const found = ahead.map((d, p) => ({ confidence: sigmoidOf(Math.abs(d)), right: rightness(d, labels[p]) }));
  const width = 0.5 / count;
  const bins = Array.from({ length: count }, (_, b): ReliabilityBin => {
    const inside = found.filter(({ confidence }) => Math.min(Math.floor((confidence - 0.5) / width), count - 1) === b);
    return { from: 0.5 + b * width, to: 0.5 + (b + 1) * width, count: inside.length, confidence: mean(inside.map(({ confidence }) => confidence)), accuracy: mean(inside.map(({ right }) => right)) }; // prettier-ignore
  });
  const gaps = bins.filter((bin) => bin.count > 0).map((bin) => ({ gap: Math.abs(bin.accuracy - bin.confidence), share: bin.count / found.length }));
  return {
    accuracy: mean(found.map(({ right }) => right)),
    ece: gaps.reduce((sum, { gap, share }) => sum + share * gap, 0),
    mce: Math.max(...gaps.map(({ gap }) => gap)),
    brier: mean(ahead.map((d, p) => (sigmoidOf(d) - labels[p]) ** 2)),
    bins,
    temperature: bestTemperature(ahead, labels),
  };
}

export interface SliceAccuracy {
  count: number;
  accuracy: number;
  /** Mean r_chosen − r_rejected. */
  margin: number;
}

/**
 * Accuracy and margin of each slice of the pairs (a source, a language, which of the two is longer …): where a reward model is weak.
 * @param slices name of each pair's slice
 * @throws EspalierError `bad_data` when there are not as many slices as pairs
 * @example
 * accuracyBySlice({ chosenRewards, rejectedRewards }, rows.map(({ source }) => source)); // { chat: { accuracy: 0.93, … }, code: { … } }
 */
export function accuracyBySlice(pairs: PairRewards, slices: readonly string[]): Record<string, SliceAccuracy> {
  const { ahead, labels } = aheadOf(pairs);
  if (slices.length !== ahead.length) throw new EspalierError('bad_data', `there are ${slices.length} slices for ${ahead.length} pairs`, { fix: 'one for each' });
  const members = new Map<string, number[]>();
  slices.forEach((slice, p) => members.set(slice, [...(members.get(slice) ?? []), p]));
  return Object.fromEntries([...members].sort(([a], [b]) => (a < b ? -1 : 1)).map(([slice, all]) => [slice, { count: all.length, accuracy: mean(all.map((p) => rightness(ahead[p], labels[p]))), margin: mean(all.map((p) => ahead[p])) }])); // prettier-ignore
}

function aheadOf({ chosenRewards, rejectedRewards, labels }: PairRewards): { ahead: number[]; labels: readonly number[] } {
  if (chosenRewards.length === 0) throw new EspalierError('bad_data', '`chosenRewards` is empty', { fix: 'at least one pair' });
  checkNumbers('chosenRewards', chosenRewards, chosenRewards.length);
  checkNumbers('rejectedRewards', rejectedRewards, chosenRewards.length);
  checkNumbers('labels', labels, chosenRewards.length);
  return { ahead: chosenRewards.map((r, p) => r - rejectedRewards[p]), labels: labels ?? chosenRewards.map(() => 1) };
}

/** Probability that the one that the model prefers is the better one. */
const rightness = (ahead: number, label: number) => (ahead === 0 ? 0.5 : ahead > 0 ? label : 1 - label);
const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;

/** −Σ p log σ(d / T) + (1 − p) log σ(−d / T) has one minimum in 1 / T: found where its derivative changes sign. */
function bestTemperature(ahead: readonly number[], labels: readonly number[]): number {
  const slope = (inverse: number) => ahead.reduce((sum, d, p) => sum + d * (sigmoidOf(d * inverse) - labels[p]), 0);
  if (slope(0) >= 0) return Infinity;
  if (ahead.every((d, p) => d === 0 || labels[p] === Number(d > 0))) return 0; // every pair is right: the surer, the better
  let [low, high] = [0, 1];
  while (slope(high) < 0) high *= 2;
  for (let i = 0; i < 100; i++) {
    const middle = (low + high) / 2;
    if (slope(middle) < 0) low = middle;
    else high = middle;
  }
  return 2 / (low + high);
}
