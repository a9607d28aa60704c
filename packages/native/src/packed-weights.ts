import type { NativeBinding, PackedWeight, Precision } from './binding';

interface Entry {
  /** Uses since the values last changed. */
  uses: number;
  stale: boolean;
  packed: PackedWeight | null;
}

/**
 * Weights packed once a version for matrix products. A weight that is used once between two changes (a training step of one micro-batch) is not worth a copy;
 * one that is used again is packed at its second use and stays so until its values change or its data goes.
 */
export class PackedWeights {
  private readonly entries = new Map<object, Entry>();

  constructor(private readonly binding: NativeBinding) {}

  /** The packed form of `w [n, k]`, or null at a first use. */
  get(dataId: object, w: Float32Array, n: number, k: number, precision: Precision): PackedWeight | null {
    const entry = this.used(dataId);
    return entry.uses < 2 ? null : this.pack(entry, w, n, k, precision);
  }

  /** The packed form of `w [n, k]`, at a first use too. */
  now(dataId: object, w: Float32Array, n: number, k: number, precision: Precision): PackedWeight {
    return this.pack(this.used(dataId), w, n, k, precision);
  }

  private used(dataId: object): Entry {
    let entry = this.entries.get(dataId);
    if (!entry) this.entries.set(dataId, (entry = { uses: 0, stale: false, packed: null }));
    entry.uses++;
    return entry;
  }

  private pack(entry: Entry, w: Float32Array, n: number, k: number, precision: Precision): PackedWeight {
    const { packed } = entry;
    if (packed && packed.n === n && packed.k === k && packed.precision === precision) {
      if (entry.stale) this.binding.repackWeight(packed, w);
      entry.stale = false;
      return packed;
    }
    if (packed) this.binding.releaseWeight(packed);
    entry.packed = null;
    entry.packed = this.binding.packWeight(w, n, k, precision);
    entry.stale = false;
    return entry.packed;
  }

  /** The values changed in place. */
  changed(dataId: object): void {
    const entry = this.entries.get(dataId);
    if (!entry) return;
    entry.uses = 0;
    entry.stale = true;
  }

  /** The data is gone. */
  forget(dataId: object): void {
    const entry = this.entries.get(dataId);
    if (!entry) return;
    this.entries.delete(dataId);
    if (entry.packed) this.binding.releaseWeight(entry.packed);
  }

  dispose(): void {
    for (const dataId of [...this.entries.keys()]) this.forget(dataId);
  }

  /** Bytes held. */
  get bytes(): number {
    let total = 0;
    for (const { packed } of this.entries.values()) total += packed?.bytes ?? 0;
    return total;
  }
}
