import { EspalierError } from '@espalier/spec';
import { deriveSeed } from './seeds';
import type { Json } from './trainer-state';

/** A place in rows that are gone through again and again, each time in another order. */
export class RowCursor {
  private epochIndex = 0;
  private position = 0;
  private order: Int32Array;

  constructor(
    readonly count: number,
    private readonly options: { seed: number; shuffle: boolean },
  ) {
    if (count < 1) throw new EspalierError('bad_data', 'there are no rows to train on');
    this.order = this.permutation();
  }

  /** Share of the rows seen: 1.5 in the middle of the second pass. */
  get epoch(): number {
    return this.epochIndex + this.position / this.count;
  }

  /** Rows left in this pass. */
  get left(): number {
    return this.count - this.position;
  }

  /** The next `n` rows by index, into the next pass where this one ends. */
  take(n: number): number[] {
    return Array.from({ length: n }, () => {
      const row = this.order[this.position++];
      if (this.position === this.count) this.nextEpoch();
      return row;
    });
  }

  /** Leaves out what is left of this pass. */
  nextEpoch(): void {
    this.epochIndex++;
    this.position = 0;
    this.order = this.permutation();
  }

  state(): { epoch: number; index: number } {
    return { epoch: this.epochIndex, index: this.position };
  }

  restore(state: Json): void {
    const { epoch, index } = state as { epoch: number; index: number };
    if (!Number.isInteger(epoch) || !(index >= 0 && index < this.count)) throw new EspalierError('bad_checkpoint', `the position ${JSON.stringify(state)} is not one in ${this.count} rows`);
    this.epochIndex = epoch;
    this.order = this.permutation();
    this.position = index;
  }

  private permutation(): Int32Array {
    const order = Int32Array.from({ length: this.count }, (_, i) => i);
    if (!this.options.shuffle) return order;
    for (let i = this.count - 1; i > 0; i--) {
      const j = deriveSeed(this.options.seed, this.epochIndex, i) % (i + 1);
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }
}
