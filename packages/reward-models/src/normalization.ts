import { EspalierError } from '@espalier/spec';

/** Count, mean and Σ (x − mean)² of the numbers so far (Welford 1962). */
export interface Moments {
  count: number;
  mean: number;
  m2: number;
}

/** How rewards are put on one scale: by fixed numbers, by those of all rewards so far, or not at all. */
export type Normalization = 'none' | 'running' | { mean: number; std: number };

/** Mean and standard deviation (n − 1) of rewards, for a fixed normalisation. @throws EspalierError `bad_data` for fewer than two or all alike */
export function rewardMoments(rewards: readonly number[]): { mean: number; std: number } {
  const moments = rewards.reduce(withNumber, { count: 0, mean: 0, m2: 0 });
  const { mean, std } = spreadOf(moments);
  if (!(std > 0) || !Number.isFinite(std)) throw new EspalierError('bad_data', `the rewards have the standard deviation ${std}`, { fix: 'two rewards at least that differ' });
  return { mean, std };
}

export function withNumber({ count, mean, m2 }: Moments, value: number): Moments {
  const delta = value - mean;
  const next = mean + delta / (count + 1);
  return { count: count + 1, mean: next, m2: m2 + delta * (value - next) };
}

const spreadOf = ({ count, mean, m2 }: Moments) => ({ mean, std: count > 1 ? Math.sqrt(m2 / (count - 1)) : 0 });

/** Normalises and clips rewards: `(r − mean) / std`, then into the bounds. Running numbers take in a batch before it is normalised by them. */
export class RewardScale {
  private moments: Moments = { count: 0, mean: 0, m2: 0 };
  private readonly bounds: readonly [number, number];

  /** @throws EspalierError `bad_config` for a standard deviation that divides nothing or bounds that hold nothing */
  constructor(
    private readonly normalization: Normalization = 'none',
    clip: number | readonly [number, number] = Infinity,
  ) {
    this.bounds = typeof clip === 'number' ? [-clip, clip] : clip;
    if (!(this.bounds[0] < this.bounds[1])) throw new EspalierError('bad_config', `\`clip\` is ${JSON.stringify(clip)}`, { fix: 'a positive number, or a lower and a higher bound' });
    if (typeof normalization !== 'object') return;
    const { mean, std } = normalization;
    if (!Number.isFinite(mean) || !(std > 0) || !Number.isFinite(std)) throw new EspalierError('bad_config', `rewards cannot be normalised by mean ${mean} and standard deviation ${std}`, { fix: 'finite numbers, the second above 0' });
  }

  /** @param learn whether running numbers take these in. Default true */
  apply(rewards: readonly number[], learn = true): number[] {
    if (this.normalization === 'running' && learn) this.moments = rewards.reduce(withNumber, this.moments);
    const { mean, std } = this.normalization === 'none' ? { mean: 0, std: 1 } : this.normalization === 'running' ? spreadOf(this.moments) : this.normalization;
    const scale = std > 0 ? 1 / std : 1; // a first reward, or rewards that are all alike: centred alone
    return rewards.map((reward) => Math.min(Math.max((reward - mean) * scale, this.bounds[0]), this.bounds[1]));
  }

  state(): Moments {
    return { ...this.moments };
  }

  restore(moments: Moments): void {
    this.moments = { ...moments };
  }
}
