import type { NativeBinding, PackedWeight, WeightPrecision } from './binding';

/** A weight in one precision. */
interface Entry {
  /** Uses since the values last changed. */
  uses: number;
  stale: boolean;
  packed: PackedWeight | null;
  /** Its shape, here because asking the packed weight is a call to Rust: a step of decoding looks at hundreds. */
  n: number;
  k: number;
}

/** The use at which a weight is packed. */
const packedFrom = 3;

/**
 * Weights packed once a version for matrix products. A weight that is used once or twice between two changes (a training step of one micro-batch, with gradient checkpointing too)
 * is not worth a copy: the product packs it on the way, beside its own work. One that is used again is packed at its third use and stays so until its values change or its data
 * goes. Each precision that it is used in is packed by itself.
 */
export class PackedWeights {
  private readonly entries = new Map<object, Map<WeightPrecision, Entry>>();

  /** How often the values of a packed weight changed, or a packed form came or went. */
  changes = 0;

  constructor(private readonly binding: NativeBinding) {}

  /** The packed form of `w [n, k]`, or null at the first uses. */
  get(dataId: object, w: Float32Array, n: number, k: number, precision: WeightPrecision): PackedWeight | null {
    const entry = this.used(dataId, precision);
    return entry.uses < packedFrom ? null : this.pack(entry, w, n, k, precision);
  }

  /** The packed form of `w [n, k]`, at its first use too. */
  now(dataId: object, w: Float32Array, n: number, k: number, precision: WeightPrecision): PackedWeight {
    return this.pack(this.used(dataId, precision), w, n, k, precision);
  }

  private used(dataId: object, precision: WeightPrecision): Entry {
    let forms = this.entries.get(dataId);
    if (!forms) this.entries.set(dataId, (forms = new Map()));
    let entry = forms.get(precision);
    if (!entry) forms.set(precision, (entry = { uses: 0, stale: false, packed: null, n: 0, k: 0 }));
    entry.uses++;
    return entry;
  }

  private pack(entry: Entry, w: Float32Array, n: number, k: number, precision: WeightPrecision): PackedWeight {
    const { packed } = entry;
    if (packed && entry.n === n && entry.k === k) {
      if (entry.stale) this.binding.repackWeight(packed, w);
      entry.stale = false;
      return packed;
    }
    if (packed) this.binding.releaseWeight(packed);
    this.changes++;
    entry.packed = null;
    entry.packed = this.binding.packWeight(w, n, k, precision);
    Object.assign(entry, { n, k, stale: false });
    return entry.packed;
  }

  /** The values changed in place. */
  changed(dataId: object): void {
    this.changes++;
    for (const entry of this.entries.get(dataId)?.values() ?? []) {
      entry.uses = 0;
      entry.stale = true;
    }
  }

  /** The data is gone. */
  forget(dataId: object): void {
    const forms = this.entries.get(dataId);
    if (!forms) return;
    this.changes++;
    for (const { packed } of forms.values()) if (packed) this.binding.releaseWeight(packed);
    this.entries.delete(dataId);
  }

  dispose(): void {
    for (const dataId of [...this.entries.keys()]) this.forget(dataId);
  }

  /** Bytes held. */
  get bytes(): number {
    let total = 0;
    for (const forms of this.entries.values()) for (const { packed } of forms.values()) total += packed?.bytes ?? 0;
    return total;
  }
}
