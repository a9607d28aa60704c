import { createHash } from 'node:crypto';
import { open, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { EspalierError, throwIfAborted } from '@espalier/spec';
import { readError } from './line-reader';
import { hash32, Random } from './random';
import type { RowStream, StreamedRow, StreamState } from './row-stream';
import { openShard, type Place, type Shard, type ShardOptions, type ShardReader } from './shards';

export interface StreamFilesOptions extends Partial<ShardOptions> {
  /** Shuffle: files in a random order, rows through a buffer. Default true. */
  shuffle?: boolean;
  /** Rows of the buffer out of which the next one is drawn. More is better mixed. Default 1000. */
  bufferSize?: number;
  seed?: number;
}

/**
 * Rows of files that may be larger than memory, as a stream: `.jsonl` a row a line, CSV, TSV, Parquet (a row group of which is in memory), any other file as text. Several files, a folder or a pattern
 * (`corpus/part-*.jsonl`) are the shards of one corpus. The order derives from seed and pass; a saved position holds the places of the rows that
 * wait in the buffer, which are read again when the stream goes on: the rows that follow are the same.
 *
 * @throws EspalierError `not_found` when nothing is there, `bad_data` for an empty file
 * @example
 * const corpus = await streamFiles('corpus/*.jsonl', { seed: 1, bufferSize: 10_000 });
 * new SFTTrainer({ model, trainDataset: corpus, args: { maxSteps: 1000 } });
 */
export async function streamFiles(files: string | readonly string[], options: StreamFilesOptions = {}): Promise<RowStream> {
  const paths = (await Promise.all((typeof files === 'string' ? [files] : files).map(expand))).flat();
  const shardOptions: ShardOptions = { sampleBy: 'line', textField: 'text', maxRowBytes: 2 ** 26, ...options };
  const shards: Shard[] = [];
  for (const path of paths) {
    const info = await stat(path).catch((error: unknown) => Promise.reject(readError(path, error)));
    if (!info.isFile()) throw new EspalierError('bad_data', `${path} is not a file`);
    if (info.size === 0) throw new EspalierError('bad_data', `${path} is empty`, { fix: 'leave it out' });
    shards.push(await openShard(path, info.size, shardOptions));
  }
  const bufferSize = options.bufferSize ?? 1000;
  if (!(Number.isInteger(bufferSize) && bufferSize >= 1)) throw new EspalierError('bad_config', `\`bufferSize\` is ${bufferSize}`, { fix: 'an integer from 1' });
  return new FileStream(shards, { shuffle: options.shuffle ?? true, seed: options.seed ?? 0, sampleBy: shardOptions.sampleBy, bufferSize });
}

/** The files that a path, a folder or a pattern with `*` in its last part names, in the order of their names. */
async function expand(path: string): Promise<string[]> {
  const pattern = basename(path).includes('*');
  const folder = pattern ? dirname(path) : path;
  const isFolder = await stat(folder).then((info) => info.isDirectory(), () => false);
  if (!pattern && !isFolder) return [path];
  const test = new RegExp(pattern ? `^${basename(path).split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&')).join('.*')}$` : '\\.(jsonl|ndjson|json|csv|tsv|parquet|txt|md|text)$', 'i');
  const entries = isFolder ? await readdir(folder, { withFileTypes: true }) : [];
  const found = entries.filter((entry) => entry.isFile() && test.test(entry.name)).map((entry) => join(folder, entry.name)).sort();
  if (found.length === 0) throw new EspalierError('not_found', pattern ? `no file matches ${path}` : `${path} holds no .jsonl or text file, nor .csv, .tsv or .parquet`);
  return found;
}

/** Shard, and the place in it. */
type PlaceInShard = [shard: number, ...Place];

class FileStream implements RowStream {
  readonly name: string;
  private readonly total: number;
  private pass = 0;
  /** Place in the order of the shards; the reader stands in that one. */
  private shard = 0;
  private draws = 0;
  /** Bytes of the rows that this pass has given out. */
  private given = 0;
  private reader: ShardReader | null = null;
  private resumeAt: { offset: number; line: number } = { offset: 0, line: 1 };
  private buffer: { place: PlaceInShard; streamed: StreamedRow }[] = [];
  private waiting: PlaceInShard[] = []; // places of a restored buffer, not read yet
  private order: ArrayLike<number> | null = null;

  constructor(
    private readonly shards: readonly Shard[],
    private readonly options: { shuffle: boolean; seed: number; sampleBy: 'line' | 'paragraph'; bufferSize: number },
  ) {
    this.name = shards.length === 1 ? basename(shards[0].path) : `${shards.length} files`;
    this.total = shards.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  async next({ signal }: { signal?: AbortSignal } = {}): Promise<StreamedRow | null> {
    throwIfAborted(signal);
    if (this.waiting.length > 0) await this.readWaiting();
    const wanted = this.options.shuffle ? this.options.bufferSize : 1;
    while (this.buffer.length < wanted) {
      const entry = await this.read();
      if (entry === null) break;
      this.buffer.push(entry);
      if (this.buffer.length % 256 === 0) throwIfAborted(signal);
    }
    if (this.buffer.length === 0) {
      if (this.draws === 0) throw new EspalierError('bad_data', `${this.name} has no rows`, { fix: 'one row a line' });
      [this.pass, this.shard, this.draws, this.given, this.order, this.resumeAt] = [this.pass + 1, 0, 0, 0, null, { offset: 0, line: 1 }];
      return null;
    }
    const draw = this.options.shuffle ? hash32(this.options.seed, this.pass, this.draws) % this.buffer.length : 0;
    this.draws++;
    const drawn = this.buffer[draw];
    const last = this.buffer.pop()!;
    if (last !== drawn) this.buffer[draw] = last;
    this.given += drawn.place[2];
    return drawn.streamed;
  }

  progress(): number {
    return this.pass + Math.min(this.given / this.total, 1 - 1e-6);
  }

  state(): StreamState {
    return { pass: this.pass, shard: this.shard, draws: this.draws, given: this.given, ...(this.reader?.position() ?? this.resumeAt), buffer: [...this.waiting, ...this.buffer.map(({ place }) => place)].flat() };
  }

  restore(state: StreamState): void {
    const { pass, shard, draws, given, offset, line, buffer } = state as { pass: number; shard: number; draws: number; given: number; offset: number; line: number; buffer: number[] };
    const whole = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
    if (![pass, shard, draws, given, offset, line].every(whole) || !Array.isArray(buffer) || buffer.length % 4 !== 0 || !buffer.every(whole) || shard > this.shards.length) {
      throw new EspalierError('bad_data', `${JSON.stringify(state).slice(0, 200)} is no position in ${this.name}`);
    }
    const places = Array.from({ length: buffer.length / 4 }, (_, i) => buffer.slice(4 * i, 4 * i + 4) as PlaceInShard);
    if (places.some(([s, ...place]) => s >= this.shards.length || !this.shards[s].holds(place))) throw new EspalierError('bad_data', `${this.name} is shorter than when this position was saved`, { fix: 'the files that the run began with' });
    [this.pass, this.shard, this.draws, this.given, this.resumeAt, this.waiting, this.buffer, this.reader, this.order] = [pass, shard, draws, given, { offset, line }, places, [], null, null];
  }

  /** Names, sizes, and what the files begin and end with. */
  async digest(): Promise<StreamState> {
    const hash = createHash('sha256');
    for (const { path, bytes } of this.shards) {
      const handle = await open(path, 'r').catch((error: unknown) => Promise.reject(readError(path, error)));
      try {
        const piece = Buffer.alloc(Math.min(bytes, 65536));
        await handle.read(piece, 0, piece.length, 0);
        hash.update(`${basename(path)} ${bytes}\n`).update(piece);
        await handle.read(piece, 0, piece.length, bytes - piece.length);
        hash.update(piece);
      } finally {
        await handle.close();
      }
    }
    const { shuffle, bufferSize, seed, sampleBy } = this.options;
    return { files: this.shards.length, bytes: this.total, sha256: hash.digest('hex'), shuffle, sampleBy, ...(shuffle ? { bufferSize, seed } : {}) };
  }

  private shardAt(index: number): number {
    if (!this.options.shuffle) return index;
    this.order ??= new Random(this.options.seed, this.pass, 0x5a).permutation(this.shards.length);
    return this.order[index];
  }

  /** The next row of the files in their order; null at the end of the last. */
  private async read(): Promise<{ place: PlaceInShard; streamed: StreamedRow } | null> {
    while (this.shard < this.shards.length) {
      const index = this.shardAt(this.shard);
      const shard = this.shards[index];
      this.reader ??= shard.read(this.resumeAt);
      const next = await this.reader.next();
      if (next !== null) return { place: [index, ...next.place], streamed: next.streamed };
      this.reader = null;
      this.resumeAt = { offset: 0, line: 1 };
      this.shard++;
    }
    return null;
  }

  /** Reads the rows of a restored buffer again: in the order of the files, so that no part of one is read twice. */
  private async readWaiting(): Promise<void> {
    const order = this.waiting.map((place, i) => ({ place, i })).sort((a, b) => a.place[0] - b.place[0] || a.place[1] - b.place[1]);
    const read: { place: PlaceInShard; streamed: StreamedRow }[] = [];
    for (const { place, i } of order) {
      const [shard, ...inside] = place;
      read[i] = { place, streamed: await this.shards[shard].readAt(inside) };
    }
    [this.buffer, this.waiting] = [read, []];
  }
}
