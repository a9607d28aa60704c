import { EspalierError } from '@espalier/spec';
import { dirname } from 'node:path';
import { chunkBytes, PendingFile, syncFolder } from './files';
import { floatBytes, narrowToBfloat, narrowToHalf, type FloatFormat } from './float-formats';

/** A tensor to write. `data` may be a function, called when its turn comes: one tensor at a time is in memory. */
export interface TensorToWrite {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array | (() => Float32Array);
  /** Overrides the file's format for this tensor. */
  readonly dtype?: FloatFormat;
}

const codes: Readonly<Record<FloatFormat, string>> = { float32: 'F32', bfloat16: 'BF16', float16: 'F16' };

/**
 * Writes a safetensors file: to a temporary sibling, flushed, then renamed, so that what was there before is whole until the new file is.
 * The same tensors give the same bytes.
 *
 * @param options.dtype - default `float32`; narrowing rounds to nearest, ties to even
 * @param options.metadata - the header's `__metadata__`, default `{ format: 'pt' }`, which `transformers` asks for
 * @throws EspalierError `no_space`, `io`; `unsupported` for a number beyond fp16; `internal` when a tensor's data does not have its shape.
 * @example
 * writeSafetensors('model.safetensors', [{ name: 'w', shape: [2, 2], data: new Float32Array([1, 2, 3, 4]) }]);
 */
export function writeSafetensors(path: string, tensors: Iterable<TensorToWrite>, options: { dtype?: FloatFormat; metadata?: Record<string, string> } = {}): void {
  stageSafetensors(path, tensors, options).commit();
  syncFolder(dirname(path));
}

/** As {@link writeSafetensors}, but stops before the rename: for folders whose files change together. */
export function stageSafetensors(path: string, tensors: Iterable<TensorToWrite>, options: { dtype?: FloatFormat; metadata?: Record<string, string> } = {}): PendingFile {
  const list = [...tensors];
  const header: Record<string, unknown> = { __metadata__: options.metadata ?? { format: 'pt' } };
  let position = 0;
  for (const { name, shape, dtype } of list) {
    if (Object.hasOwn(header, name)) throw new EspalierError('internal', `two tensors are named ${name}`);
    const format = dtype ?? options.dtype ?? 'float32';
    const length = size(shape) * floatBytes[format];
    header[name] = { dtype: codes[format], shape, data_offsets: [position, position + length] };
    position += length;
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const padded = Math.ceil(text.length / 8) * 8; // data starts at a multiple of 8
  const head = new Uint8Array(8 + padded).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(padded), true);
  head.set(text, 8);

  const file = new PendingFile(path);
  try {
    file.write(head);
    for (const { name, shape, data, dtype } of list) {
      const values = typeof data === 'function' ? data() : data;
      if (values.length !== size(shape)) throw new EspalierError('internal', `tensor ${name} has ${values.length} values for the shape [${shape.join(', ')}]`);
      writeValues(file, values, dtype ?? options.dtype ?? 'float32', name);
    }
    file.seal();
  } catch (error) {
    file.discard();
    throw error;
  }
  return file;
}

function writeValues(file: PendingFile, values: Float32Array, format: FloatFormat, name: string): void {
  if (format === 'float32') return file.write(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  const step = chunkBytes / 2;
  const narrow = new Uint16Array(Math.min(step, values.length));
  for (let done = 0; done < values.length; done += step) {
    const part = values.subarray(done, Math.min(done + step, values.length));
    if (format === 'bfloat16') narrowToBfloat(part, narrow);
    else narrowToHalf(part, narrow, name);
    file.write(new Uint8Array(narrow.buffer, 0, part.length * 2));
  }
}

function size(shape: readonly number[]): number {
  return shape.reduce((product, n) => product * n, 1);
}
