import { EspalierError } from '@espalier/spec';
import { chunkBytes, isRecord, RangedFile } from './files';
import { widenBfloat, widenHalf } from './float-formats';
import type { StoredTensor, WeightSource } from './weight-source';

/** The format's own limit on the length of a header. */
const maxHeaderBytes = 100_000_000;

/** Bits per value of every type that the format knows; see `safetensors/src/tensor.rs`. */
const dtypeBits: Readonly<Record<string, number>> = {
  BOOL: 8, F4: 4, F6_E2M3: 6, F6_E3M2: 6, U8: 8, I8: 8, F8_E5M2: 8, F8_E4M3: 8, F8_E8M0: 8, F8_E4M3FNUZ: 8, F8_E5M2FNUZ: 8,
  I16: 16, U16: 16, F16: 16, BF16: 16, I32: 32, U32: 32, F32: 32, C64: 64, F64: 64, I64: 64, U64: 64,
}; // prettier-ignore

const dtypeNames: Readonly<Record<string, string>> = { F16: 'float16', BF16: 'bfloat16', F32: 'float32', F64: 'float64' };

interface Entry extends StoredTensor {
  /** First byte in the file. */
  readonly start: number;
  readonly byteLength: number;
}

/** One open safetensors file: a checked header, and tensors that are read when asked for. */
export interface SafetensorsFile extends WeightSource {
  readonly path: string;
  /** The header's `__metadata__`. */
  readonly metadata: Readonly<Record<string, string>>;
  close(): void;
}

/**
 * Opens a safetensors file and checks its whole header before anything is trusted: lengths, JSON, types, shapes against byte counts, ranges,
 * overlaps, gaps, duplicates. Format: https://github.com/huggingface/safetensors#format
 *
 * @throws EspalierError `bad_checkpoint` naming the file and the tensor, `not_found`, `io`.
 * @example
 * const file = openSafetensors('model.safetensors');
 * const embeddings = file.read('model.embed_tokens.weight'); // Float32Array
 */
export function openSafetensors(path: string): SafetensorsFile {
  const file = new RangedFile(path);
  try {
    const { entries, metadata } = readHeader(file);
    return {
      path,
      metadata,
      tensors: entries,
      read(name, into) {
        const entry = entries.get(name);
        if (!entry) throw new EspalierError('not_found', `${path} has no tensor ${name}`);
        return readTensor(file, entry, into);
      },
      close: () => file.close(),
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

function readHeader(file: RangedFile): { entries: Map<string, Entry>; metadata: Record<string, string> } {
  const bad = (what: string): EspalierError => new EspalierError('bad_checkpoint', `${file.path} is not a sound safetensors file: ${what}`);
  if (file.size < 8) throw bad(`it has ${file.size} bytes, too few for a header`);
  const prefix = new Uint8Array(8);
  file.read(prefix, 0);
  const claimed = new DataView(prefix.buffer).getBigUint64(0, true);
  if (claimed > BigInt(maxHeaderBytes)) throw bad(`its header claims ${claimed} bytes; at most ${maxHeaderBytes} are allowed`);
  if (claimed > BigInt(file.size - 8)) throw bad(`its header claims ${claimed} bytes, but only ${file.size - 8} follow (truncated?)`);
  const bytes = new Uint8Array(Number(claimed));
  file.read(bytes, 8);

  let header: unknown;
  let names: string[];
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    header = JSON.parse(text);
    names = rootKeys(text);
  } catch (error) {
    throw bad(`its header is not valid JSON (${(error as Error).message})`);
  }
  if (!isRecord(header)) throw bad('its header is not a JSON object');
  const twice = firstDuplicate(names);
  if (twice !== undefined) throw bad(`its header lists ${quote(twice)} twice`);

  const dataStart = 8 + bytes.length;
  const dataLength = file.size - dataStart;
  const entries = new Map<string, Entry>();
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') metadata = checkMetadata(value, bad);
    else entries.set(name, checkEntry(name, value, dataStart, dataLength, bad));
  }
  checkLayout([...entries.values()], dataStart, dataLength, bad);
  return { entries, metadata };
}

function checkMetadata(value: unknown, bad: (what: string) => EspalierError): Record<string, string> {
  if (!isRecord(value) || Object.values(value).some((v) => typeof v !== 'string')) throw bad('`__metadata__` should map strings to strings');
  return value as Record<string, string>;
}

function checkEntry(name: string, value: unknown, dataStart: number, dataLength: number, bad: (what: string) => EspalierError): Entry {
  const wrong = (what: string): EspalierError => bad(`tensor ${quote(name)} ${what}`);
  if (!isRecord(value)) throw wrong('is not described by an object');
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== 'string' || !Object.hasOwn(dtypeBits, dtype)) throw wrong(`has the unknown dtype ${JSON.stringify(dtype)?.slice(0, 40)}`);
  if (!Array.isArray(shape) || shape.length > 32 || !shape.every(isSize)) throw wrong('has a shape that is not a short list of sizes');
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) throw wrong('has `data_offsets` that are not two positions');
  const [begin, end] = offsets as [number, number];
  const count = (shape as number[]).reduce((product, size) => product * size, 1);
  if (!Number.isSafeInteger(count)) throw wrong(`has the impossible shape [${shape.join(', ')}]`);
  if (begin > end) throw wrong(`ends (byte ${end}) before it begins (byte ${begin})`);
  if (end > dataLength) throw wrong(`reaches to byte ${end} of the data, but the file holds only ${dataLength} (truncated?)`);
  const bits = count * dtypeBits[dtype];
  if (!Number.isSafeInteger(bits) || bits % 8 !== 0 || bits / 8 !== end - begin) throw wrong(`has ${end - begin} bytes; ${dtype} [${shape.join(', ')}] takes ${bits / 8}`);
  return { name, shape: shape as number[], dtype: dtypeNames[dtype] ?? dtype.toLowerCase(), start: dataStart + begin, byteLength: end - begin };
}

/** Tensors must tile the data: the format allows neither overlaps nor gaps, nor bytes that belong to none. */
function checkLayout(entries: Entry[], dataStart: number, dataLength: number, bad: (what: string) => EspalierError): void {
  let position = dataStart;
  for (const entry of entries.sort((a, b) => a.start - b.start || a.byteLength - b.byteLength)) {
    if (entry.start < position) throw bad(`tensor ${quote(entry.name)} overlaps the one before it`);
    if (entry.start > position) throw bad(`${entry.start - position} bytes before tensor ${quote(entry.name)} belong to none`);
    position = entry.start + entry.byteLength;
  }
  if (position !== dataStart + dataLength) throw bad(`${dataStart + dataLength - position} bytes at its end belong to no tensor`);
}

function readTensor(file: RangedFile, entry: Entry, into: Float32Array | undefined): Float32Array {
  const where = `${file.path}: tensor ${quote(entry.name)}`;
  const width = entry.dtype === 'float32' ? 4 : entry.dtype === 'float64' ? 8 : entry.dtype === 'float16' || entry.dtype === 'bfloat16' ? 2 : 0;
  if (!width) throw new EspalierError('unsupported', `${where} holds ${entry.dtype}, not floats`, { fix: 'weights in fp32, fp16, bf16 or fp64 can be read' });
  const count = entry.byteLength / width;
  const target = destination(where, count, into);
  if (entry.dtype === 'float32') {
    file.read(new Uint8Array(target.buffer, target.byteOffset, target.byteLength), entry.start);
    return target;
  }
  const step = chunkBytes / 8;
  const scratch = new ArrayBuffer(Math.min(step, count) * width);
  for (let done = 0; done < count; done += step) {
    const length = Math.min(step, count - done);
    file.read(new Uint8Array(scratch, 0, length * width), entry.start + done * width);
    if (entry.dtype === 'float16') widenHalf(new Uint16Array(scratch, 0, length), target, done);
    else if (entry.dtype === 'bfloat16') widenBfloat(new Uint16Array(scratch, 0, length), target, done);
    else target.set(new Float64Array(scratch, 0, length), done);
  }
  return target;
}

/** The array that a tensor of `count` values is read into: `into` when its size is right, else a new one. */
export function destination(where: string, count: number, into: Float32Array | undefined): Float32Array {
  if (into && into.length !== count) throw new EspalierError('internal', `${where} has ${count} values, its destination ${into.length}`);
  return into ?? new Float32Array(count);
}

function isSize(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

/** A name from a file, safe to print: short, and without control characters. */
export function quote(name: string): string {
  return JSON.stringify(name.length > 120 ? `${name.slice(0, 117)}...` : name);
}

function firstDuplicate(names: string[]): string | undefined {
  const seen = new Set<string>();
  for (const name of names) {
    if (seen.has(name)) return name;
    seen.add(name);
  }
  return undefined;
}

/** The keys of a JSON text's root object, duplicates included (`JSON.parse` keeps the last and says nothing). The text is known to be valid. */
function rootKeys(text: string): string[] {
  const keys: string[] = [];
  let depth = 0;
  let expectKey = false;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === '"') {
      const start = i++;
      while (text[i] !== '"') i += text[i] === '\\' ? 2 : 1;
      if (depth === 1 && expectKey) keys.push(JSON.parse(text.slice(start, i + 1)) as string);
      expectKey = false;
    } else if (character === '{' || character === '[') {
      depth++;
      expectKey = depth === 1;
    } else if (character === '}' || character === ']') depth--;
    else if (character === ',') expectKey = depth === 1;
  }
  return keys;
}

