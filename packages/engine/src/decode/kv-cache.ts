import type { StepCache } from '@espalier/models';
import { cacheRowBytes, cacheWrite, concat, dispose, emptyCache, gather, keep, tensor1d, tidy, type Tensor } from '@espalier/tensor';
import { RowAllocator } from './row-allocator';

/** Keys and values of every layer, one row a token, in the format of `emptyCache`. Rows belong to prompts and to samples, as the allocator hands them out. */
export class KvCache {
  private layers: { k: Tensor; v: Tensor }[] = [];
  private rows = new RowAllocator(0);

  constructor(private readonly shape: { numLayers: number; width: number; headDim: number }) {}

  /** Bytes that one row takes over all layers. */
  get bytesPerRow(): number {
    const { numLayers, width, headDim } = this.shape;
    return numLayers * 2 * cacheRowBytes(width, headDim);
  }

  get capacity(): number {
    return this.rows.capacity;
  }

  /** Start of a free range, or -1. */
  allocate(length: number): number {
    return this.rows.allocate(length);
  }

  release(start: number, length: number): void {
    this.rows.release(start, length);
  }

  /** Makes room for at least `capacity` rows; what is cached stays. One layer at a time, so that the peak is one layer above the new size. */
  grow(capacity: number): void {
    const { numLayers, width, headDim } = this.shape;
    const added = capacity - this.rows.capacity;
    if (added <= 0) return;
    if (this.layers.length === 0) this.layers = Array.from({ length: numLayers }, () => ({ k: keep(emptyCache(capacity, width, headDim)), v: keep(emptyCache(capacity, width, headDim)) }));
    else
      for (const layer of this.layers)
        for (const name of ['k', 'v'] as const) {
          const more = emptyCache(added, width, headDim);
          const grown = keep(concat([layer[name], more], 0));
          dispose([layer[name], more]);
          layer[name] = grown;
        }
    this.rows.grow(capacity);
  }

  /** Stores the keys and values `[B, Hkv, Dh]` of tokens, or rows of the cache, in these rows. */
  write(layer: number, k: Tensor, v: Tensor, rows: Int32Array): void {
    const entry = this.layers[layer];
    for (const [name, values] of [['k', k], ['v', v]] as const) {
      const written = keep(cacheWrite(entry[name], values, rows));
      if (written !== entry[name]) entry[name].dispose();
      entry[name] = written;
    }
  }

  /** Keys and values of one layer. */
  layer(layer: number): { k: Tensor; v: Tensor } {
    return this.layers[layer];
  }

  /** Copies rows, in every layer. */
  copy(from: Int32Array, to: Int32Array): void {
    tidy(() => {
      const ids = tensor1d(from, 'int32');
      this.layers.forEach(({ k, v }, layer) => tidy(() => this.write(layer, gather(k, ids), gather(v, ids), to)));
    });
  }

  /** The cache as a step sees it that adds one token a sequence: in `rows [B]`, which attend to the ranges of rows `[B, 4]`: prefix start and length, own start and length. */
  step(rows: Int32Array, ranges: Int32Array): StepCache {
    return { rows, ranges, layer: (layer) => this.layer(layer), write: (layer, k, v) => this.write(layer, k, v, rows) };
  }

  /** Frees the memory and forgets every range. */
  clear(): void {
    for (const { k, v } of this.layers) dispose([k, v]);
    this.layers = [];
    this.rows = new RowAllocator(0);
  }
}
