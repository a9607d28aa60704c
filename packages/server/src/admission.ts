import { HttpError } from './http-error';

/**
 * Who may enter. The engines batch whatever they are given; here is only the bound on what runs and waits in them, so that a server that is full says so
 * at once instead of after minutes.
 */
export class Admission {
  private samples = 0;
  private seconds = 1; // running mean of how long a request takes
  private emptied: (() => void)[] = [];
  draining = false;

  constructor(private readonly maxQueue: number) {}

  /** Samples that run or wait. */
  get inFlight(): number {
    return this.samples;
  }

  /**
   * Takes places for the samples of a request. The function that comes back gives them back; further calls of it do nothing.
   * @throws HttpError 429 with `Retry-After` when there are not so many, 503 when the server is being stopped
   */
  enter(samples: number): () => void {
    if (this.draining) throw new HttpError(503, 'the server is shutting down and takes no new requests', { code: 'shutting_down', headers: { connection: 'close', 'retry-after': '5' } });
    if (this.samples + samples > this.maxQueue) {
      const wait = Math.min(60, Math.max(1, Math.ceil(this.seconds)));
      throw new HttpError(429, `the server is full: ${this.samples} samples run or wait, at most ${this.maxQueue} may`, { code: 'queue_full', headers: { 'retry-after': String(wait) } });
    }
    this.samples += samples;
    const start = performance.now();
    let left = false;
    return () => {
      if (left) return;
      left = true;
      this.samples -= samples;
      this.seconds = 0.9 * this.seconds + 0.1 * ((performance.now() - start) / 1000);
      if (this.samples === 0) for (const resolve of this.emptied.splice(0)) resolve();
    };
  }

  /** Lets nobody in any more; resolves when the last sample has left. */
  async drain(): Promise<void> {
    this.draining = true;
    if (this.samples > 0) await new Promise<void>((resolve) => this.emptied.push(resolve));
  }
}
