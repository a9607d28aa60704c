/** One metric as the monitors remember it: plain JSON. */
interface Remembered {
  /** The first values. */
  head: number[];
  /** The last values, oldest first. */
  tail: number[];
  count: number;
  /** Squares of the differences between neighbours, summed: what a step's noise is reckoned from. */
  squares: number;
}

/** Plain JSON, saved with a checkpoint. */
export type SeriesState = Record<string, Remembered>;

const headLength = 12;
const tailLength = 96;

export const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;

/** A mean with its standard error. */
export interface Level {
  mean: number;
  error: number;
}

/**
 * What the monitors remember of a run's metrics. A value's noise is reckoned from the differences between neighbours, which a slow trend does not move; a mean of
 * n values has that over √n as its standard error.
 */
export class SeriesBook {
  constructor(private readonly seen: SeriesState = {}) {}

  /** Takes a step's value; one that is missing or not finite is passed over. */
  push(metric: string, value: number | undefined): void {
    if (value === undefined || !Number.isFinite(value)) return;
    const own = (this.seen[metric] ??= { head: [], tail: [], count: 0, squares: 0 });
    const before = own.tail.at(-1);
    if (before !== undefined) own.squares += (value - before) ** 2;
    own.count++;
    if (own.head.length < headLength) own.head.push(value);
    own.tail.push(value);
    if (own.tail.length > tailLength) own.tail.shift();
  }

  names(): string[] {
    return Object.keys(this.seen);
  }

  count(metric: string): number {
    return this.seen[metric]?.count ?? 0;
  }

  /** Standard deviation of one value about its trend; larger by what is not known of it yet after few values. */
  noise(metric: string): number {
    const own = this.seen[metric];
    return own && own.count > 1 ? Math.sqrt(own.squares / (own.count - 1) / 2) * (1 + 4 / (own.count - 1)) : 0;
  }

  /** Of the last `n` values; null before there are as many. */
  last(metric: string, n: number): Level | null {
    const own = this.seen[metric];
    if (!own || own.count < n) return null;
    return { mean: mean(own.tail.slice(-n)), error: this.noise(metric) / Math.sqrt(n) };
  }

  /** Of the last `n` values without the lowest: one bad step is none. */
  lastButWorst(metric: string, n: number): Level | null {
    const own = this.seen[metric];
    if (!own || own.count < n || n < 2) return null;
    const values = own.tail.slice(-n);
    return { mean: (values.reduce((a, b) => a + b, 0) - Math.min(...values)) / (n - 1), error: this.noise(metric) / Math.sqrt(n - 1) };
  }

  /** Of the first `n` values. */
  first(metric: string, n: number): Level | null {
    const own = this.seen[metric];
    if (!own || own.count < n) return null;
    return { mean: mean(own.head.slice(0, n)), error: this.noise(metric) / Math.sqrt(n) };
  }

  /**
   * Mean of the best `n` values in a row among those remembered, without the last `without`; and how many values ago they ended.
   */
  best(metric: string, n: number, without: number): (Level & { ago: number }) | null {
    const own = this.seen[metric];
    const values = own ? own.tail.slice(0, own.tail.length - without) : [];
    if (values.length < n) return null;
    let sum = values.slice(0, n).reduce((a, b) => a + b, 0);
    let [top, end] = [sum, n];
    for (let i = n; i < values.length; i++) {
      sum += values[i] - values[i - n];
      if (sum > top) [top, end] = [sum, i + 1];
    }
    return { mean: top / n, error: this.noise(metric) / Math.sqrt(n), ago: without + values.length - end };
  }

  /** Of the `n` values that ended `ago` values ago. */
  before(metric: string, n: number, ago: number): Level | null {
    const own = this.seen[metric];
    if (!own || own.tail.length < n + ago) return null;
    const end = own.tail.length - ago;
    return { mean: mean(own.tail.slice(end - n, end)), error: this.noise(metric) / Math.sqrt(n) };
  }

  state(): SeriesState {
    return this.seen;
  }
}

/** How far one level is above another, and how many standard errors that is. */
export function rise(from: Level, to: Level): { by: number; sigmas: number } {
  const by = to.mean - from.mean;
  const error = Math.hypot(from.error, to.error);
  return { by, sigmas: error > 0 ? by / error : by === 0 ? 0 : Math.sign(by) * Infinity };
}
