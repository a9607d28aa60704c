/**
 * First come, first served: shared turns run side by side, an exclusive turn runs alone. Reading the weights (forward, generation, saving) is
 * shared; changing them (optimiser step, loading) is exclusive, so that a sequence is never sampled from two versions of the weights.
 */
export class TurnLock {
  private shared = 0;
  private exclusive = false;
  private readonly waiting: { exclusive: boolean; start: () => void }[] = [];

  async run<T>(kind: 'shared' | 'exclusive', body: () => Promise<T> | T): Promise<T> {
    await this.enter(kind === 'exclusive');
    try {
      return await body();
    } finally {
      if (kind === 'exclusive') this.exclusive = false;
      else this.shared--;
      this.wake();
    }
  }

  private enter(exclusive: boolean): Promise<void> {
    return new Promise((start) => {
      this.waiting.push({ exclusive, start });
      this.wake();
    });
  }

  private wake(): void {
    while (this.waiting.length > 0 && !this.exclusive && (!this.waiting[0].exclusive || this.shared === 0)) {
      const next = this.waiting.shift()!;
      if (next.exclusive) this.exclusive = true;
      else this.shared++;
      next.start();
    }
  }
}
