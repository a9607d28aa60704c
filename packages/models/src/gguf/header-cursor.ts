import type { EspalierError } from '@espalier/spec';
import type { RangedFile } from '../files';

const windowBytes = 1024 * 1024;

/** Walks a GGUF header through a window of a megabyte. Every count and length is checked against what is left of the file before anything is allocated for it. */
export class HeaderCursor {
  /** The next byte's position in the file. */
  position = 0;
  private window = new Uint8Array(0);
  private view = new DataView(this.window.buffer);
  private windowStart = 0;
  private readonly decoder = new TextDecoder('utf-8', { fatal: true });

  constructor(
    private readonly file: RangedFile,
    private readonly bad: (what: string) => EspalierError,
  ) {}

  u8(): number {
    const at = this.advance(1); // may move the window
    return this.view.getUint8(at);
  }

  u16(): number {
    const at = this.advance(2); // may move the window
    return this.view.getUint16(at, true);
  }

  u32(): number {
    const at = this.advance(4); // may move the window
    return this.view.getUint32(at, true);
  }

  u64(): bigint {
    const at = this.advance(8); // may move the window
    return this.view.getBigUint64(at, true);
  }

  f32(): number {
    const at = this.advance(4); // may move the window
    return this.view.getFloat32(at, true);
  }

  f64(): number {
    const at = this.advance(8); // may move the window
    return this.view.getFloat64(at, true);
  }

  /** A 64-bit count of things of at least `leastBytes` each. */
  count(leastBytes: number, things: string): number {
    const value = this.u64();
    const left = this.file.size - this.position;
    if (value > BigInt(Math.floor(left / leastBytes))) throw this.bad(`it claims ${value} ${things}, but only ${left} bytes follow`);
    return Number(value);
  }

  string(maxBytes: number, what: string): string {
    const length = this.count(1, `bytes for ${what}`);
    if (length > maxBytes) throw this.bad(`${what} has ${length} bytes; at most ${maxBytes} are allowed`);
    const at = this.advance(length);
    try {
      return this.decoder.decode(this.window.subarray(at, at + length));
    } catch {
      throw this.bad(`${what} is not UTF-8`);
    }
  }

  /** Makes `length` bytes available in the window and steps over them; their offset in the window. */
  private advance(length: number): number {
    if (this.position + length > this.file.size) throw this.bad(`its header runs past its end (byte ${this.file.size}; truncated?)`);
    if (this.position + length > this.windowStart + this.window.length) {
      this.window = new Uint8Array(Math.min(Math.max(windowBytes, length), this.file.size - this.position));
      this.view = new DataView(this.window.buffer);
      this.windowStart = this.position;
      this.file.read(this.window, this.position);
    }
    const at = this.position - this.windowStart;
    this.position += length;
    return at;
  }
}
