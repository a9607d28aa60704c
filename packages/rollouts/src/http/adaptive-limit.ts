import { throwIfAborted } from '@espalier/spec';

export interface AdaptiveLimitOptions {
  /** Requests at once to begin with. Default 8. */
  initial?: number;
  /** Default 1. */
  min?: number;
  /** Default 256. */
  max?: number;
  /** Milliseconds of some clock: for tests. */
  now?(): number;
}

/**
 * How many requests run at once, found by measuring: while more of them bring more tokens a second, more are let through; when throughput falls, fewer; when
 * the server says that it is overloaded, half. Counts only while somebody waits, as an idle queue says nothing about the server.
 */
export class AdaptiveLimit {
  private running = 0;
  private readonly waiting: (() => void)[] = [];
  private readonly min: number;
  private readonly max: number;
  private readonly now: () => number;
  private current: number;
  private window = { start: 0, tokens: 0, requests: 0, saturated: false };
  private last: number | null = null; // tokens a millisecond, of the window before
  private calmUntil = 0; // an overload is answered once, not once for every request that met it

  constructor(options: AdaptiveLimitOptions = {}) {
    this.min = options.min ?? 1;
    this.max = options.max ?? 256;
    this.now = options.now ?? (() => performance.now());
    this.current = Math.min(this.max, Math.max(this.min, options.initial ?? 8));
    this.restart();
  }

  /** Requests that may run at once, now. */
  get limit(): number {
    return this.current;
  }

  /** Runs the body when there is room. What it returns says how many tokens it brought. */
  async run<T>(body: () => Promise<{ value: T; tokens: number }>, signal?: AbortSignal): Promise<T> {
    await this.enter(signal);
    try {
      const { value, tokens } = await body();
      this.measure(tokens);
      return value;
    } finally {
      this.running--;
      this.wake();
    }
  }

  /** The server was overloaded: it said so, or did not answer. */
  overloaded(): void {
    if (this.now() < this.calmUntil) return;
    this.calmUntil = this.now() + 1000;
    this.current = Math.max(this.min, Math.floor(this.current / 2));
    this.last = null;
    this.restart();
  }

  private async enter(signal?: AbortSignal): Promise<void> {
    throwIfAborted(signal);
    if (this.running < this.current && this.waiting.length === 0) {
      this.running++;
      return;
    }
    this.window.saturated = true;
    await new Promise<void>((resolve, reject) => {
      const start = () => {
        signal?.removeEventListener('abort', leave);
        this.running++;
        resolve();
      };
      const leave = () => {
        this.waiting.splice(this.waiting.indexOf(start), 1);
        try {
          throwIfAborted(signal);
        } catch (error) {
          reject(error);
        }
      };
      this.waiting.push(start);
      signal?.addEventListener('abort', leave, { once: true });
    });
  }

  private wake(): void {
    while (this.running < this.current && this.waiting.length > 0) this.waiting.shift()!();
  }

  private measure(tokens: number): void {
    this.window.tokens += tokens;
    this.window.requests++;
    if (this.window.requests < 2 * this.current) return;
    const { start, saturated } = this.window;
    const elapsed = this.now() - start;
    if (saturated && elapsed > 0) {
      const throughput = this.window.tokens / elapsed;
      if (this.last === null || throughput > this.last * 1.05) this.current = Math.min(this.max, Math.ceil(this.current * 1.5));
      else if (throughput < this.last * 0.9) this.current = Math.max(this.min, Math.floor(this.current * 0.75));
      this.last = throughput;
    }
    this.restart();
  }

  private restart(): void {
    this.window = { start: this.now(), tokens: 0, requests: 0, saturated: this.waiting.length > 0 };
  }
}
