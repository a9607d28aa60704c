import { EspalierError } from '@espalier/spec';
import { chunkBytes, type RangedFile } from '../files';
import { destination, quote } from '../safetensors';
import type { StoredTensor, WeightSource } from '../weight-source';
import { dequantize } from './dequantize';
import type { GgufHeader, GgufTensor } from './header';
import { hfTensor, type HfTensor } from './tensor-names';

interface Placed extends HfTensor {
  readonly stored: GgufTensor;
}

/** The tensors of a GGUF file under Hugging Face's names, shapes and row order, dequantised as they are read. */
export function ggufWeights(file: RangedFile, header: GgufHeader, architecture: string, heads: { numHeads: number; numKvHeads: number }): WeightSource {
  const tensors = new Map<string, StoredTensor>();
  const placed = new Map<string, Placed>();
  for (const stored of header.tensors.values()) {
    const hf = hfTensor(architecture, stored.name);
    if (!hf) continue;
    if (tensors.has(hf.name)) throw new EspalierError('bad_checkpoint', `${file.path}: two tensors stand for ${hf.name}`);
    const at = { stored, ...hf };
    checkLayout(file.path, at, heads);
    placed.set(hf.name, at);
    tensors.set(hf.name, { name: hf.name, shape: hf.layout === 'transposed' ? [...stored.shape].reverse() : stored.shape, dtype: stored.type.name });
  }
  return {
    tensors,
    read(name, into) {
      const at = placed.get(name);
      if (!at) throw new EspalierError('not_found', `${file.path} has no tensor for ${name}`);
      return readPlaced(file, at, heads, into);
    },
  };
}

/** A tensor as it stands in the file, dequantised. */
export function readGgufTensor(file: RangedFile, stored: GgufTensor): Float32Array {
  return readPlaced(file, { name: stored.name, layout: 'plain', stored }, { numHeads: 1, numKvHeads: 1 }, undefined);
}

function checkLayout(path: string, { stored, layout }: Placed, heads: { numHeads: number; numKvHeads: number }): void {
  const count = layout === 'permuted-q' ? heads.numHeads : heads.numKvHeads;
  if (layout.startsWith('permuted') && stored.shape[0] % (2 * count) !== 0) {
    throw new EspalierError('bad_checkpoint', `${path}: tensor ${quote(stored.name)} has ${stored.shape[0]} rows, which ${count} heads do not divide`);
  }
  if (layout === 'transposed' && stored.shape.length !== 2) throw new EspalierError('bad_checkpoint', `${path}: tensor ${quote(stored.name)} should have two dimensions`);
}

function readPlaced(file: RangedFile, { name, stored, layout }: Placed, heads: { numHeads: number; numKvHeads: number }, into: Float32Array | undefined): Float32Array {
  const { shape, type } = stored;
  const columns = shape[shape.length - 1];
  const rows = shape.slice(0, -1).reduce((product, n) => product * n, 1);
  const target = destination(`${file.path}: ${name}`, rows * columns, into);
  if (layout === 'plain') {
    const blocks = stored.byteLength / type.blockBytes;
    eachChunk(file, stored, blocks, type.blockBytes, (packed, first) => dequantize(type, packed, target, first * type.blockValues));
    return target;
  }
  // Row by row: each is dequantised and put where the Hugging Face layout has it.
  const rowBytes = (columns / type.blockValues) * type.blockBytes;
  const row = new Float32Array(columns);
  const count = layout === 'permuted-q' ? heads.numHeads : heads.numKvHeads;
  const perHead = shape[0] / count;
  eachChunk(file, stored, rows, rowBytes, (packed, first) => {
    for (let i = 0; i * rowBytes < packed.length; i++) {
      const source = first + i;
      if (layout === 'transposed') {
        dequantize(type, packed.subarray(i * rowBytes, (i + 1) * rowBytes), row, 0);
        for (let j = 0; j < columns; j++) target[j * rows + source] = row[j]; // [out, in] → [in, out]
      } else {
        // llama.cpp stores row (h, i, half) where Hugging Face has (h, half, i); biases are columns of one row and take the same way
        const moved = shape.length === 1 ? 0 : unpermuted(source, perHead);
        dequantize(type, packed.subarray(i * rowBytes, (i + 1) * rowBytes), target, moved * columns);
      }
    }
  });
  if (shape.length === 1) {
    const flat = target.slice();
    for (let i = 0; i < flat.length; i++) target[unpermuted(i, perHead)] = flat[i];
  }
  return target;
}

/** Where a row of llama.cpp's interleaved q or k stands in Hugging Face's half-split order: (h, i, half) → (h, half, i). */
function unpermuted(row: number, perHead: number): number {
  const within = row % perHead;
  return row - within + (within % 2) * (perHead / 2) + (within >> 1);
}

/** Reads `count` records of `bytes` each, a few megabytes at a time. */
function eachChunk(file: RangedFile, stored: GgufTensor, count: number, bytes: number, use: (packed: Uint8Array, first: number) => void): void {
  const step = Math.max(1, Math.floor(chunkBytes / bytes));
  const scratch = new Uint8Array(Math.min(step, count) * bytes);
  for (let first = 0; first < count; first += step) {
    const packed = scratch.subarray(0, Math.min(step, count - first) * bytes);
    file.read(packed, stored.start + first * bytes);
    use(packed, first);
  }
}
