import {
  aggregate, constant, flatten, gradients, importanceSamplingLevels, nestedMask, unflatten, variable, add, clip, div, exp, klVector, logImportanceRatio, min, mul, neg, quantile,
  rowMean, rowSum, sigmoid, spreadRows, stopGradient, sub, sum,
  type Aggregation, type ImportanceSamplingLevel, type Nested, type Normalizer, type Rows, type Vector, type VectorLike,
} from '@espalier/objectives';
import { EspalierError, type MetricSums } from '@espalier/spec';
import { clipMetrics, rowMetric, tokenMetric } from './metrics';
import { rlooTerms } from './rloo-loss';

/** TRL's `loss_type`s of GRPO. */
export const lossTypes = ['grpo', 'dr_grpo', 'dapo', 'bnpo', 'cispo', 'sapo', 'luspo', 'vespo'] as const;
export type LossType = (typeof lossTypes)[number];
/** {@link lossTypes} and `rloo`, the loss of TRL's `RLOOTrainer`. */
export type PolicyLossType = LossType | 'rloo';

/** Options of the loss, by TRL's names and with its defaults. */
export interface PolicyLossOptions {
  /** Default `dapo`. */
  lossType?: PolicyLossType;
  /** Lower clip range: ratios are clipped at 1 − epsilon. Default 0.2. */
  epsilon?: number;
  /** Upper clip range: 1 + epsilonHigh; for `cispo` the cap itself. Default: `epsilon`. */
  epsilonHigh?: number | null;
  /** Second upper bound on the ratio, which holds for negative advantages too. Default: none. */
  delta?: number | null;
  /** Weight of the KL term against the reference. Default 0: no reference is needed. */
  beta?: number;
  /** Multiply the KL term by the importance ratio (DeepSeek-V3.2). Default true. */
  useBiasCorrectionKl?: boolean;
  /** `token`, or `sequence` (GSPO). Default `token`. */
  importanceSamplingLevel?: ImportanceSamplingLevel;
  /** The divisor of `dr_grpo`. */
  maxCompletionLength?: number;
  /** Drop a sequence with negative advantage when mean(samplingLogps − logps) exceeds this. Default: none. */
  offPolicyMaskThreshold?: number | null;
  /** Train on the share of tokens with the highest entropy. Default 1: all. */
  topEntropyQuantile?: number;
  /** Weight of the mean token entropy, which is subtracted from the loss. Default 0. */
  entropyCoef?: number;
  sapoTemperaturePos?: number;
  sapoTemperatureNeg?: number;
  vespoKPos?: number;
  vespoLambdaPos?: number;
  vespoKNeg?: number;
  vespoLambdaNeg?: number;
}

/** What the loss is computed from: flat vectors over the trained tokens of ragged rows, a row a completion. All [A]. */
export interface PolicyTerms {
  logps: Vector;
  /** Log-probs when the optimisation on these completions began; null: the current ones, as constants. */
  oldLogps: VectorLike | null;
  refLogps: VectorLike | null;
  advantages: VectorLike;
  entropy: VectorLike | null;
  /** Log-probs of the sampler, for the off-policy mask; null: `oldLogps`. */
  samplingLogps: VectorLike | null;
  /** Correction for the mismatch between sampler and trainer, a factor a token; null: none. */
  importanceSamplingRatio: VectorLike | null;
  rows: Rows;
  normalizer: Normalizer;
}

const defaults = {
  lossType: 'dapo', epsilon: 0.2, beta: 0, useBiasCorrectionKl: true, importanceSamplingLevel: 'token', topEntropyQuantile: 1, entropyCoef: 0,
  sapoTemperaturePos: 1, sapoTemperatureNeg: 1.05, vespoKPos: 2, vespoLambdaPos: 3, vespoKNeg: 3, vespoLambdaNeg: 2,
} as const satisfies PolicyLossOptions;

/** How each loss type makes one number of its token losses. */
const aggregationOf: Record<LossType, Aggregation> = {
  grpo: 'grpo', sapo: 'grpo', bnpo: 'bnpo', dr_grpo: 'dr_grpo', luspo: 'luspo', dapo: 'dapo', cispo: 'dapo', vespo: 'dapo',
};

/** Keep the tokens whose entropy is at least the (1 − q)-quantile (2506.01939). [A] of 0 and 1 */
function highEntropyMask(entropy: Vector, q: number): Float64Array {
  const threshold = quantile(entropy.values, 1 - q);
  return entropy.values.map((h) => (h >= threshold ? 1 : 0));
}

/** DeepSeek-V3.2's sequence mask: drop where A < 0 and the mean of log μ − log π_θ over the sequence exceeds the threshold. [A] of 0 and 1 */
function offPolicyMask(logps: Vector, samplingLogps: Vector, advantages: Vector, rows: Rows, threshold: number): Float64Array {
  const drift = spreadRows(rowMean(sub(samplingLogps.values, logps.values), rows), rows).values;
  return drift.map((kl, i) => (advantages.values[i < advantages.size ? i : 0] >= 0 || kl <= threshold ? 1 : 0));
}

/** VESPO's gamma weighting φ(w) = e^{λ + k ln w − λ w} of the sequence ratio w = Π π_θ/π_old, without a gradient. [A] */
function vespoWeights(logRatio: Vector, correction: Vector | null, advantages: Vector, rows: Rows, o: Required<Pick<PolicyLossOptions, 'vespoKPos' | 'vespoKNeg' | 'vespoLambdaPos' | 'vespoLambdaNeg'>>): Vector {
  const floor = Math.log(1e-8);
  let perSequence = rowSum(clip(logRatio.values, -20, 20), rows);
  if (correction) perSequence = add(perSequence, rowSum(correction.values.map((r) => Math.min(Math.max(Math.log(r), floor), 20)), rows));
  const logW = spreadRows(clip(perSequence, floor, 20), rows).values;
  return constant(
    logW.map((lw, i) => {
      const positive = advantages.values[i] >= 0;
      const lambda = Math.max(positive ? o.vespoLambdaPos : o.vespoLambdaNeg, 1e-4);
      return Math.exp(lambda + (positive ? o.vespoKPos : o.vespoKNeg) * lw - lambda * Math.exp(lw));
    }),
  );
}

/**
 * The loss of the GRPO family on the tape, with its metrics. {@link policyLoss} and `policyObjective` are both this formula.
 *
 * With ρ the importance ratio and A the advantage, a token's loss is
 * - `grpo`, `bnpo`, `dr_grpo`, `dapo`, `luspo`: −min(min(ρ, δ)·A, clip(ρ, 1 − ε, 1 + ε_high)·A) (2402.03300 eq. 3; 2503.14476; 2503.20783; 2602.05261)
 * - `cispo`: −sg(min(ρ, ε_high))·A·logp (2506.13585 eq. 4)
 * - `sapo`: −(4/τ)·σ(τ(ρ − 1))·A, τ by the sign of A (2511.20347)
 * - `vespo`: −sg(φ(w))·A·logp (2602.10693)
 * - `rloo`: one ratio a completion, exp(Σ log ρ), clipped; mean over completions (`rlooTerms`). It takes `epsilon` and `epsilonHigh` alone
 *
 * then masked, corrected, + β·KL (k3, times ρ with `useBiasCorrectionKl`), aggregated, and − entropyCoef·mean entropy.
 *
 * @returns `activeEntropy`: the entropy summed over the tokens that the bonus acts on, and their number
 */
export function policyTerms(terms: PolicyTerms, options: PolicyLossOptions): { loss: Vector; metrics: MetricSums; activeEntropy?: { entropy: number; active: number } } {
  const o = { ...defaults, ...withoutUndefined(options) };
  const epsilonHigh = o.epsilonHigh ?? o.epsilon;
  const { logps, rows, normalizer } = terms;
  const advantages = constant(terms.advantages);
  const metrics: MetricSums = {};
  const share = rows.size / Math.max(normalizer.tokens, 1); // of the optimiser step, in this part
  const level = o.importanceSamplingLevel;
  if (o.lossType === 'rloo') return ofCompletions(terms, { ...o, epsilonHigh });

  const oldLogps = terms.oldLogps === null ? stopGradient(logps) : constant(terms.oldLogps);
  const ratio = exp(logImportanceRatio(logps, oldLogps, rows, level)); // [A]
  const entropyMask = o.topEntropyQuantile < 1 ? highEntropyMask(required(terms.entropy, 'entropy', 'top_entropy_quantile'), o.topEntropyQuantile) : null;

  let perToken: Vector; // [A]
  switch (o.lossType) {
    case 'cispo': {
      perToken = neg(mul(mul(stopGradient(min(ratio, epsilonHigh)), advantages), logps));
      metrics.cispo_clip_ratio = clipMetrics.share(ratio, advantages, rows, level, (r, a) => r > epsilonHigh && a > 0);
      break;
    }
    case 'sapo': {
      const temperature = constant(advantages.values.map((a) => (a > 0 ? o.sapoTemperaturePos : o.sapoTemperatureNeg)));
      perToken = neg(mul(mul(sigmoid(mul(temperature, sub(ratio, 1))), div(4, temperature)), advantages));
      break;
    }
    case 'vespo': {
      const phi = vespoWeights(sub(logps, oldLogps), terms.importanceSamplingRatio === null ? null : constant(terms.importanceSamplingRatio), advantages, rows, o);
      perToken = neg(mul(mul(phi, advantages), logps));
      metrics['vespo/phi_seq_mean'] = rowMetric(phi, rows);
      break;
    }
    case 'grpo':
    case 'bnpo':
    case 'dr_grpo':
    case 'dapo':
    case 'luspo': {
      const capped = o.delta === undefined || o.delta === null ? ratio : clip(ratio, -Infinity, o.delta);
      perToken = neg(min(mul(capped, advantages), mul(clip(ratio, 1 - o.epsilon, 1 + epsilonHigh), advantages)));
      Object.assign(metrics, clipMetrics.all(capped, advantages, rows, level, 1 - o.epsilon, 1 + epsilonHigh)); // TRL counts after the cap δ
      break;
    }
    default:
      throw new EspalierError('bad_config', `\`loss_type\` ${JSON.stringify(o.lossType)} is unknown`, { fix: `one of ${lossTypes.join(', ')}, rloo` });
  }

  if (o.offPolicyMaskThreshold !== undefined && o.offPolicyMaskThreshold !== null) {
    const sampling = terms.samplingLogps === null ? oldLogps : constant(terms.samplingLogps);
    perToken = mul(perToken, offPolicyMask(logps, sampling, advantages, rows, o.offPolicyMaskThreshold));
  }
  if (entropyMask) perToken = mul(perToken, entropyMask);
  if (terms.importanceSamplingRatio !== null && o.lossType !== 'vespo') perToken = mul(perToken, terms.importanceSamplingRatio);
  if (o.beta !== 0) {
    let kl = klVector(logps, required(terms.refLogps, 'refLogps', 'beta'), 'k3');
    if (o.useBiasCorrectionKl) kl = mul(kl, ratio);
    perToken = add(perToken, mul(kl, o.beta));
    metrics.kl = tokenMetric(kl);
  }

  let loss = aggregate(perToken, rows, aggregationOf[o.lossType], normalizer, o);
  let activeEntropy: { entropy: number; active: number } | undefined;
  if (terms.entropy !== null) {
    const { values } = constant(terms.entropy);
    metrics.entropy = tokenMetric(constant(values));
    activeEntropy = { entropy: values.reduce((total, h, i) => total + (entropyMask?.[i] === 0 ? 0 : h), 0), active: entropyMask ? entropyMask.reduce((a, b) => a + b, 0) : values.length };
  }
  if (o.entropyCoef !== 0) {
    const entropy = required(terms.entropy, 'entropy', 'entropy_coef');
    metrics.policy_loss = { sum: loss.item(), weight: share };
    metrics.entropy_coef = { sum: o.entropyCoef * share, weight: share };
    const kept = entropyMask ? entropyMask.reduce((a, b) => a + b, 0) : normalizer.tokens; // a quantile couples the batch: this part is all of it
    loss = sub(loss, mul(div(sum(entropyMask ? mul(entropy, entropyMask) : entropy), Math.max(kept, 1)), o.entropyCoef));
  }
  return { loss, metrics, activeEntropy };
}

/** The options of the other losses that RLOO's has no place for. */
const tokenOptions = { beta: 0, entropyCoef: 0, topEntropyQuantile: 1, delta: undefined, offPolicyMaskThreshold: undefined } as const;

/** RLOO's loss, whose unit is a completion. */
function ofCompletions(terms: PolicyTerms, options: PolicyLossOptions & { epsilon: number; epsilonHigh: number }): { loss: Vector; metrics: MetricSums } {
  for (const name of Object.keys(tokenOptions) as (keyof typeof tokenOptions)[]) {
    if ((options[name] ?? undefined) === tokenOptions[name]) continue;
    const field = name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);
    throw new EspalierError('bad_config', `\`loss_type\` rloo has no \`${field}\`, which is ${String(options[name])}`, { fix: name === 'beta' ? 'take the KL off the reward: `leaveOneOutAdvantages({ rewards, kl }, { beta })`' : 'leave it out' });
  }
  const { loss, metrics } = rlooTerms(terms, options);
  if (terms.entropy !== null) metrics.entropy = tokenMetric(constant(terms.entropy));
  return { loss, metrics };
}

function required(value: VectorLike | null, name: string, field: string): Vector {
  if (value === null) throw new EspalierError('bad_data', `\`${field}\` needs \`${name}\`, which was not given`, { fix: `pass \`${name}\`, one number a token` });
  return constant(value);
}

function withoutUndefined<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}

/** Inputs of {@link policyLoss}: nested arrays, a row a completion, a number a token. */
export interface PolicyLossInputs {
  logps: Nested;
  /** Default: `logps` as constants (ρ = 1), which is right when the completions were sampled with the current weights. */
  oldLogps?: Nested;
  /** Needed when `beta` is not 0. */
  refLogps?: Nested;
  /** 1 for a trained token, 0 for padding, a tool's output, a truncated completion. Default: all 1. */
  mask?: Nested;
  /** One a completion, or one a token. */
  advantages: ArrayLike<number> | Nested;
  /** Needed for `entropyCoef` and `topEntropyQuantile`. */
  entropy?: Nested;
  samplingLogps?: Nested;
  importanceSamplingRatio?: Nested;
  /** Counts of the whole optimiser step when these rows are a part of it. Default: the counts of these rows. */
  normalizer?: Normalizer;
}

export interface PolicyLossResult {
  loss: number;
  /** d loss / d input for every differentiable input that was given; entries with mask 0 are 0. `advantages` has the shape in which it came. */
  grads: { logps: number[][]; oldLogps?: number[][]; refLogps?: number[][]; entropy?: number[][]; advantages: number[] | number[][] };
  /** By TRL's names. */
  metrics: Record<string, number>;
}

/**
 * The policy loss of GRPO and its relatives, in float64, with its derivatives. TRL's `GRPOTrainer._compute_loss` (1.16) by its option names.
 *
 * @throws EspalierError `bad_data` when shapes differ, an unmasked entry is not finite or a needed input is missing; `bad_config` for unknown options
 *
 * @example
 * const { loss, grads, metrics } = policyLoss(
 *   { logps: [[-1, -2], [-0.5]], oldLogps: [[-1.1, -1.9], [-0.6]], advantages: [1, -1] },
 *   { lossType: 'dapo', epsilon: 0.2, epsilonHigh: 0.28 },
 * );
 */
export function policyLoss(inputs: PolicyLossInputs, options: PolicyLossOptions = {}): PolicyLossResult {
  if (options.importanceSamplingLevel !== undefined && !importanceSamplingLevels.includes(options.importanceSamplingLevel)) {
    throw new EspalierError('bad_config', `\`importance_sampling_level\` ${JSON.stringify(options.importanceSamplingLevel)} is unknown`, { fix: `one of ${importanceSamplingLevels.join(', ')}` });
  }
  const mask = nestedMask('logps', inputs.logps, inputs.mask);
  const leaf = (name: string, values: Nested | undefined) => (values === undefined ? null : variable(flatten(name, values, mask)));
  const logps = variable(flatten('logps', inputs.logps, mask));
  const oldLogps = leaf('oldLogps', inputs.oldLogps);
  const refLogps = leaf('refLogps', inputs.refLogps);
  const entropy = leaf('entropy', inputs.entropy);

  const perToken = inputs.advantages.length > 0 && typeof inputs.advantages[0] === 'object';
  const advantages = variable(perToken ? flatten('advantages', inputs.advantages as Nested, mask) : perCompletion(inputs.advantages as ArrayLike<number>, mask.rows.count));
  const { loss, metrics } = policyTerms(
    {
      logps, oldLogps, refLogps, entropy,
      advantages: perToken ? advantages : spreadRows(advantages, mask.rows),
      samplingLogps: leaf('samplingLogps', inputs.samplingLogps),
      importanceSamplingRatio: leaf('importanceSamplingRatio', inputs.importanceSamplingRatio),
      rows: mask.rows,
      normalizer: inputs.normalizer ?? { tokens: mask.rows.size, sequences: mask.rows.count },
    },
    options,
  );

  const [forAdvantages, forLogps, ...others] = gradients(loss, [advantages, logps, ...[oldLogps, refLogps, entropy].filter((vector) => vector !== null)]);
  const grads: PolicyLossResult['grads'] = { logps: unflatten(forLogps, mask), advantages: perToken ? unflatten(forAdvantages, mask) : Array.from(forAdvantages) };
  for (const [name, vector] of [['oldLogps', oldLogps], ['refLogps', refLogps], ['entropy', entropy]] as const) if (vector) grads[name] = unflatten(others.shift()!, mask);
  return { loss: loss.item(), grads, metrics: Object.fromEntries(Object.entries(metrics).map(([name, m]) => [name, m.sum / m.weight])) };
}

function perCompletion(values: ArrayLike<number>, count: number): Float64Array {
  if (values.length !== count) throw new EspalierError('bad_data', `\`advantages\` has ${values.length} numbers for ${count} completions`, { fix: 'one a completion, or a row a completion' });
  return Float64Array.from(values, (v, i) => {
    if (!Number.isFinite(v)) throw new EspalierError('bad_data', `\`advantages\`[${i}] is ${String(v)}`, { fix: 'a finite number' });
    return v;
  });
}
