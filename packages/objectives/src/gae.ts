import { EspalierError } from '@espalier/spec';
import { flatten, nestedMask, unflatten, type Nested } from './nested';
import { rowsOf, type Rows } from './rows';
import { maskedWhiten } from './statistics';

export interface GaeOptions {
  /** Discount. Default 1. */
  gamma?: number;
  /** λ: 0 is the one-step error, 1 the Monte-Carlo return minus the value. Default 0.95. */
  lam?: number;
  /** Whiten the advantages over all kept entries, after the returns were taken. Default false. */
  whiten?: boolean;
}

/** Nested rows: a row a completion, rows of any length. */
export interface GaeNested {
  rewards: Nested;
  /** `values[r][t]` is V before token `t`; past the end of a row it is 0. */
  values: Nested;
  /** Entries with 0 are not there: the recursion steps over them. Default: all 1. */
  mask?: Nested;
}

/** Flat vectors of ragged rows; without `rows`, of one row. */
export interface GaeRagged {
  rewards: ArrayLike<number>; // [A]
  values: ArrayLike<number>; // [A]
  mask?: ArrayLike<number>; // [A]
  rows?: Rows;
}

/**
 * Generalised advantage estimation: δ_t = r_t + γ V_{t+1} − V_t, A_t = δ_t + γ λ A_{t+1}, returns R_t = A_t + V_t, in float64. V and A past the end of
 * a row are 0. Entries under a mask of 0 are stepped over (a tool's output between two sampled tokens) and come back as 0.
 *
 * The result has the form of the input: nested rows for nested rows, flat vectors for flat ones.
 *
 * @throws EspalierError `bad_data` when shapes differ or a kept entry is not finite, or when fewer than two entries are to be whitened; `bad_config` for
 *   `gamma` or `lam` outside [0, 1]
 * Source: Schulman et al. (1506.02438) eq. 16; TRL `PPOTrainer` (1.9.0) step 6.
 *
 * @example
 * gae({ rewards: [[0, 0, 1]], values: [[0.5, 0.6, 0.7]] }, { gamma: 1, lam: 0.95 }).advantages; // [[0.46575, 0.385, 0.3]]
 */
export function gae(inputs: GaeNested, options?: GaeOptions): { advantages: number[][]; returns: number[][] };
export function gae(inputs: GaeRagged, options?: GaeOptions): { advantages: Float64Array; returns: Float64Array };
export function gae(inputs: GaeNested | GaeRagged, options: GaeOptions = {}): { advantages: number[][] | Float64Array; returns: number[][] | Float64Array } {
  const { gamma = 1, lam = 0.95, whiten = false } = options;
  for (const [name, value] of Object.entries({ gamma, lam })) if (!(value >= 0 && value <= 1)) throw new EspalierError('bad_config', `\`${name}\` is ${String(value)}`, { fix: 'a number from 0 to 1' });
  const nested = isNested(inputs) ? inputs : nestRagged(inputs);
  const mask = nestedMask('rewards', nested.rewards, nested.mask);
  const rewards = flatten('rewards', nested.rewards, mask);
  const values = flatten('values', nested.values, mask);
  const advantages = new Float64Array(rewards.length);
  const { offsets, count } = mask.rows;
  for (let r = 0; r < count; r++) {
    let next = 0; // A_{t+1}
    let nextValue = 0; // V_{t+1}
    for (let t = offsets[r + 1] - 1; t >= offsets[r]; t--) {
      const delta = rewards[t] + gamma * nextValue - values[t];
      advantages[t] = next = delta + gamma * lam * next;
      nextValue = values[t];
    }
  }
  const returns = advantages.map((a, i) => a + values[i]);
  const result = { advantages: unflatten(whiten ? whitened(advantages) : advantages, mask), returns: unflatten(returns, mask) };
  return isNested(inputs) ? result : { advantages: Float64Array.from(result.advantages.flat()), returns: Float64Array.from(result.returns.flat()) };
}

/**
 * (x − mean) / sqrt(variance + 1e-8) over all of the numbers, Bessel-corrected; `shiftMean: false` adds the mean back, which is how rewards are whitened.
 * @throws EspalierError `bad_data` with fewer than two numbers
 * Source: TRL `masked_whiten`; with a mask: {@link maskedWhiten}.
 *
 * @example
 * whitened([1, 2, 3]); // [-1, 0, 1], nearly
 */
export function whitened(values: ArrayLike<number>, options: { shiftMean?: boolean } = {}): Float64Array {
  return maskedWhiten(values, new Uint8Array(values.length).fill(1), options);
}

/** Nested when its rows are rows; an empty list is. */
function isNested(inputs: GaeNested | GaeRagged): inputs is GaeNested {
  const { rewards } = inputs;
  return Array.isArray(rewards) && (rewards.length === 0 || typeof rewards[0] === 'object');
}

function nestRagged({ rewards, values, mask, rows = rowsOf([rewards.length]) }: GaeRagged): GaeNested {
  const split = (name: string, flat: ArrayLike<number>): number[][] => {
    if (flat.length !== rows.size) throw new EspalierError('bad_data', `\`${name}\` has ${flat.length} numbers, ${rows.size} were expected`, { fix: 'one a token' });
    return Array.from({ length: rows.count }, (_, r) => Array.from(flat).slice(rows.offsets[r], rows.offsets[r + 1]));
  };
  return { rewards: split('rewards', rewards), values: split('values', values), ...(mask ? { mask: split('mask', mask) } : {}) };
}
