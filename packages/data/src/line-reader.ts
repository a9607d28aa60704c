import { open } from 'node:fs/promises';
import { EspalierError } from '@espalier/spec';

/** A line with its place: `offset` and `size` in bytes, the line break included. */
export interface Line {
  text: string;
  offset: number;
  size: number;
  /** From 1. */
  line: number;
}

const chunkBytes = 1 << 20;
const newline = 0x0a;

/** Lines of a file from any byte on, with one buffer in memory, and the file open only while it is filled. Line breaks are `\n` or `\r\n`; a byte order mark at the beginning is left out. */
export class LineReader {
  private buffer: Buffer = Buffer.alloc(0);
  private bufferStart: number; // offset of its first byte in the file
  private ended = false;
  private dropped = 0;

  constructor(
    readonly path: string,
    private readonly maxLineBytes: number,
    private offset = 0,
    private line = 1,
  ) {
    this.bufferStart = offset;
  }

  /** Where the next line begins. */
  position(): { offset: number; line: number } {
    return { offset: this.offset, line: this.line };
  }

  /** @throws EspalierError `bad_data` for a line that is too long, or bytes that are not UTF-8; `not_found`, `io` */
  async next(): Promise<Line | null> {
    let searched = this.offset - this.bufferStart;
    for (;;) {
      const at = this.buffer.indexOf(newline, searched);
      if (at >= 0) return this.take(at + 1 - (this.offset - this.bufferStart));
      searched = this.buffer.length;
      const waiting = this.bufferStart + this.buffer.length - this.offset;
      if (waiting > this.maxLineBytes) throw new EspalierError('bad_data', `${this.path}:${this.line}: the line has more than ${this.maxLineBytes} bytes`, { fix: 'one row a line, or a larger `maxRowBytes`' });
      if (this.ended) return waiting > 0 ? this.take(waiting) : null;
      await this.fill();
      searched = Math.max(0, searched - this.dropped);
    }
  }

  private async fill(): Promise<void> {
    this.dropped = this.offset - this.bufferStart;
    const rest = this.buffer.subarray(this.dropped);
    const chunk = await readBytes(this.path, this.offset + rest.length, chunkBytes);
    this.bufferStart = this.offset;
    this.buffer = Buffer.concat([rest, chunk]);
    this.ended = chunk.length === 0;
  }

  private take(size: number): Line {
    const start = this.offset - this.bufferStart;
    const found: Line = { text: decodeLine(this.buffer.subarray(start, start + size), this.path, this.line, this.offset === 0), offset: this.offset, size, line: this.line };
    this.offset += size;
    this.line++;
    return found;
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export function decodeLine(bytes: Uint8Array, path: string, line: number, first: boolean): string {
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch (cause) {
    throw new EspalierError('bad_data', `${path}:${line}: not UTF-8`, { fix: 'text in UTF-8', cause });
  }
  return text.slice(first && text.startsWith('\uFEFF') ? 1 : 0).replace(/\r?\n$/, '');
}

/** Some bytes of a file, fewer at its end. */
export async function readBytes(path: string, offset: number, size: number): Promise<Buffer> {
  try {
    const handle = await open(path, 'r');
    try {
      const bytes = Buffer.allocUnsafe(size);
      const { bytesRead } = await handle.read(bytes, 0, size, offset);
      return bytes.subarray(0, bytesRead);
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw readError(path, error);
  }
}

/** Some bytes of a file as text, as {@link LineReader} would give them. */
export async function readLineAt(path: string, { offset, size, line }: { offset: number; size: number; line: number }): Promise<string> {
  return decodeLine(await readBytes(path, offset, size), path, line, offset === 0);
}

export function readError(path: string, error: unknown): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR') return new EspalierError('not_found', `there is no file ${path}`, { cause: error });
  if (code === 'EISDIR') return new EspalierError('bad_data', `${path} is not a file`, { cause: error });
  return new EspalierError('io', `${path} cannot be read: ${message}`, { cause: error });
}
