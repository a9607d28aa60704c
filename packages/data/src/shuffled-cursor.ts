import { EspalierError } from '@espalier/spec';
import { Random } from './random';

/** A place in a dataset: all that a checkpoint keeps to go on with the next row. */
export interface CursorState {
  seed: number;
  epoch: number;
  /** Rows of this epoch that were given out. */
  index: number;
  /** Rows of the dataset; null when it has no end. */
  size: number | null;
}

/**
 * Row numbers of a dataset, epoch after epoch, in an order that the seed and the epoch determine. A dataset without end is walked in its own
 * order. The state is the position alone: the order is made again from it.
 *
 * @example
 * const cursor = new ShuffledCursor(1000, { seed: 1 });
 * const batch = cursor.take(32);
 * const later = ShuffledCursor.restore(1000, cursor.state()); // goes on where `cursor` stands
 */
export class ShuffledCursor {
  private readonly size: number;
  private readonly seed: number;
  private readonly shuffle: boolean;
  private position: { epoch: number; index: number };
  private order: Int32Array | null = null;

  /** @throws EspalierError `bad_data` for an empty dataset */
  constructor(size: number, options: { seed?: number; shuffle?: boolean } = {}) {
    if (!(size >= 1)) throw new EspalierError('bad_data', `a dataset of ${size} rows has nothing to give`, { fix: 'at least one row' });
    this.size = size;
    this.seed = options.seed ?? 0;
    this.shuffle = options.shuffle ?? true;
    this.position = { epoch: 0, index: 0 };
  }

  /** @throws EspalierError `bad_data` when the state is not of a dataset of this size */
  static restore(size: number, state: CursorState, options: { shuffle?: boolean } = {}): ShuffledCursor {
    const saved = state.size ?? Infinity;
    if (saved !== size) throw new EspalierError('bad_data', `the dataset had ${saved} rows when this position was saved, now it has ${size}`, { fix: 'the dataset that the run began with' });
    if (![state.seed, state.epoch, state.index].every((n) => Number.isInteger(n) && n >= 0) || state.index > size) throw new EspalierError('bad_data', `${JSON.stringify(state)} is no position in a dataset of ${size} rows`);
    const cursor = new ShuffledCursor(size, { seed: state.seed, shuffle: options.shuffle });
    cursor.position = { epoch: state.epoch, index: state.index };
    return cursor;
  }

  /** Epochs that are over. */
  get epoch(): number {
    return this.position.index >= this.size ? this.position.epoch + 1 : this.position.epoch;
  }

  /** Epochs that are over, the part of the current one included. */
  get progress(): number {
    return this.position.epoch + (Number.isFinite(this.size) ? this.position.index / this.size : 0);
  }

  /** The next row number; a new epoch begins by itself. */
  next(): number {
    if (this.position.index >= this.size) {
      this.position = { epoch: this.position.epoch + 1, index: 0 };
      this.order = null;
    }
    const index = this.position.index++;
    if (!this.shuffle || !Number.isFinite(this.size)) return index;
    this.order ??= new Random(this.seed, this.position.epoch).permutation(this.size);
    return this.order[index];
  }

  /** The next `count` row numbers, over the end of an epoch if need be. */
  take(count: number): number[] {
    return Array.from({ length: count }, () => this.next());
  }

  /** The rows that are left of the current epoch. */
  get remaining(): number {
    return this.size - this.position.index;
  }

  state(): CursorState {
    return { seed: this.seed, ...this.position, size: Number.isFinite(this.size) ? this.size : null };
  }
}
