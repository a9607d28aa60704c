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
    let entry = this.entries.get(dataId);
    if (!entry) this.entries.set(dataId, (entry = { uses: 0, stale: false, packed: null }));
    entry.uses++;
    if (entry.uses < 2) return null;
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
