import { EspalierError } from '@espalier/spec';
import { RangedFile } from '../files';
import { quote } from '../safetensors';
import { ggmlTypes, otherGgmlTypes, type GgmlType } from './ggml-types';
import { HeaderCursor } from './header-cursor';

// `@huggingface/gguf` reads such headers too, from the network in growing windows. It is not used here because the file is untrusted and it trusts more than we can: a string that
// crosses its window is cut short in silence, metadata lands in a plain object under keys of the file's choosing, and tensor offsets, sizes, overlaps and duplicates are
// not looked at. The tests hold this reader against it on files that are well formed.

export type GgufValue = number | bigint | boolean | string | readonly GgufValue[];

/** One tensor of a GGUF file. */
export interface GgufTensor {
  readonly name: string;
  /** Row-major, outermost first (ggml writes the innermost first). */
  readonly shape: readonly number[];
  readonly type: GgmlType;
  /** First byte in the file. */
  readonly start: number;
  readonly byteLength: number;
}

export interface GgufHeader {
  readonly version: number;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

const maxKeyBytes = 65_535; // the specification's limit
const maxStringBytes = 64 * 1024 * 1024;
const maxDimensions = 4; // GGML_MAX_DIMS
const maxNameBytes = 256;

/**
 * Reads and checks a GGUF header (versions 2 and 3): counts against what the file can hold, strings, types, shapes, alignment, ranges, overlaps.
 * Specification: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 *
 * @throws EspalierError `bad_checkpoint` naming the file and the key or tensor; `unsupported` for a sound file of a kind that is not read here.
 */
export function readGgufHeader(file: RangedFile): GgufHeader {
  const bad = (what: string): EspalierError => new EspalierError('bad_checkpoint', `${file.path} is not a sound GGUF file: ${what}`);
  const cursor = new HeaderCursor(file, bad);
  if (file.size < 24 || cursor.u32() !== 0x46554747) throw bad('it does not begin with the GGUF mark and counts');
  const version = cursor.u32();
  if (version === 1 || version > 3) {
    if ([2, 3].includes(Math.round(version / 2 ** 24))) throw new EspalierError('unsupported', `${file.path} is a big-endian GGUF file`, { fix: 'convert it to little-endian' });
    throw new EspalierError('unsupported', `${file.path} is GGUF version ${version}; versions 2 and 3 can be read`);
  }
  if (version === 0) throw bad('its version is 0');
  const tensorCount = cursor.count(32, 'tensors'); // name length, a dimension count, a type, an offset, at least
  const pairCount = cursor.count(13, 'metadata entries');

  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < pairCount; i++) {
    const key = cursor.string(maxKeyBytes, `metadata key ${i}`);
    if (metadata.has(key)) throw bad(`metadata ${quote(key)} appears twice`);
    metadata.set(key, readValue(cursor, cursor.u32(), key, bad, 0));
  }
  const shards = metadata.get('split.count');
  if (typeof shards === 'number' && shards > 1) throw new EspalierError('unsupported', `${file.path} is one of ${shards} parts of a split GGUF`, { fix: 'merge the parts (llama-gguf-split --merge)' });

  const tensors = readTensorTable(file, cursor, tensorCount, alignmentOf(metadata, bad), bad);
  return { version, metadata, tensors };
}

function readValue(cursor: HeaderCursor, kind: number, key: string, bad: (what: string) => EspalierError, depth: number): GgufValue {
  switch (kind) {
    case 0: return cursor.u8();
    case 1: return (cursor.u8() << 24) >> 24;
    case 2: return cursor.u16();
    case 3: return (cursor.u16() << 16) >> 16;
    case 4: return cursor.u32();
    case 5: return cursor.u32() | 0;
    case 6: return cursor.f32();
    case 7: {
      const value = cursor.u8();
      if (value > 1) throw bad(`metadata ${quote(key)} is a boolean with the value ${value}`);
      return value === 1;
    }
    case 8: return cursor.string(maxStringBytes, `metadata ${quote(key)}`);
    case 9: return readArray(cursor, key, bad, depth);
    case 10: return narrow(cursor.u64());
    case 11: return narrow(BigInt.asIntN(64, cursor.u64()));
    case 12: return cursor.f64();
    default: throw bad(`metadata ${quote(key)} has the unknown type ${kind}`);
  } // prettier-ignore
}

const widths: Readonly<Record<number, number>> = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 8: 8, 9: 12, 10: 8, 11: 8, 12: 8 };

function readArray(cursor: HeaderCursor, key: string, bad: (what: string) => EspalierError, depth: number): GgufValue[] {
  const kind = cursor.u32();
  if (!(kind in widths)) throw bad(`metadata ${quote(key)} is an array of the unknown type ${kind}`);
  if (depth === 2) throw bad(`metadata ${quote(key)} nests arrays too deeply`);
  const length = cursor.count(widths[kind], `elements of ${quote(key)}`);
  const values: GgufValue[] = [];
  for (let i = 0; i < length; i++) values.push(readValue(cursor, kind, key, bad, depth + 1));
  return values;
}

function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function alignmentOf(metadata: ReadonlyMap<string, GgufValue>, bad: (what: string) => EspalierError): number {
  const value = metadata.get('general.alignment') ?? 32;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 8 || value > 2 ** 20 || value % 8 !== 0) throw bad(`general.alignment is ${String(value)}; a multiple of 8 is wanted`);
  return value;
}

function readTensorTable(file: RangedFile, cursor: HeaderCursor, count: number, alignment: number, bad: (what: string) => EspalierError): Map<string, GgufTensor> {
  const table: { name: string; shape: number[]; type: GgmlType; offset: number; byteLength: number }[] = [];
  for (let i = 0; i < count; i++) {
    const name = cursor.string(maxNameBytes, `the name of tensor ${i}`);
    const wrong = (what: string): EspalierError => bad(`tensor ${quote(name)} ${what}`);
    const dimensions = cursor.u32();
    if (dimensions === 0 || dimensions > maxDimensions) throw wrong(`has ${dimensions} dimensions; 1 to ${maxDimensions} are allowed`);
    const sizes: bigint[] = [];
    for (let d = 0; d < dimensions; d++) sizes.push(cursor.u64());
    const values = sizes.reduce((product, n) => product * n, 1n);
    if (values === 0n || values > BigInt(Number.MAX_SAFE_INTEGER)) throw wrong(`has the impossible shape [${sizes.reverse().join(', ')}]`);
    const typeNumber = cursor.u32();
    const offset = cursor.u64();
    const type = ggmlTypes.get(typeNumber);
    if (!type) {
      const known = otherGgmlTypes.get(typeNumber);
      if (!known) throw wrong(`has the unknown type ${typeNumber}`);
      throw new EspalierError('unsupported', `${file.path}: tensor ${quote(name)} is stored as ${known}, which cannot be read`, { fix: `take a file in one of ${[...ggmlTypes.values()].map((t) => t.name).join(', ')}` });
    }
    const shape = sizes.map(Number).reverse();
    if (shape[shape.length - 1] % type.blockValues !== 0) throw wrong(`has rows of ${shape[shape.length - 1]} values, which ${type.name} cannot hold (blocks of ${type.blockValues})`);
    if (offset % BigInt(alignment) !== 0n) throw wrong(`lies at ${offset}, not at a multiple of ${alignment}`);
    if (offset > BigInt(file.size)) throw wrong(`lies at byte ${offset} of a file of ${file.size} (truncated?)`);
    table.push({ name, shape, type, offset: Number(offset), byteLength: (Number(values) / type.blockValues) * type.blockBytes });
  }

  const dataStart = Math.ceil(cursor.position / alignment) * alignment;
  const tensors = new Map<string, GgufTensor>();
  for (const { name, shape, type, offset, byteLength } of table) {
    if (tensors.has(name)) throw bad(`tensor ${quote(name)} appears twice`);
    const start = dataStart + offset;
    if (start + byteLength > file.size) throw bad(`tensor ${quote(name)} reaches to byte ${start + byteLength} of a file of ${file.size} (truncated?)`);
    tensors.set(name, { name, shape, type, start, byteLength });
  }
  let end = dataStart;
  for (const tensor of [...tensors.values()].sort((a, b) => a.start - b.start)) {
    if (tensor.start < end) throw bad(`tensor ${quote(tensor.name)} overlaps the one before it`);
    end = tensor.start + tensor.byteLength;
  }
  return tensors;
}
