import { createHash } from 'node:crypto';
import { isEspalierError, throwIfAborted } from '@espalier/spec';

/**
 * Verdicts by content: a group's completions are often the same program, and the same program gets the same verdict. What failed, and what `keep` refuses, is asked anew.
 */
export class VerdictCache<Verdict> {
  private readonly known = new Map<string, Promise<Verdict>>();

  /** @param keep whether a verdict holds for next time; @param size verdicts kept, the oldest leave first */
  constructor(
    private readonly keep: (verdict: Verdict) => boolean,
    private readonly size = 2000,
  ) {}

  /** @param signal that of the caller: an abort by another caller who waits for the same verdict is none of his */
  get(content: unknown, make: () => Promise<Verdict>, signal?: AbortSignal): Promise<Verdict> {
    const key = createHash('sha256').update(JSON.stringify(content, plain)).digest('base64');
    const found = this.known.get(key);
    if (found) {
      return found.catch((error: unknown) => {
        throwIfAborted(signal);
        if (isEspalierError(error) && error.code === 'aborted') return this.get(content, make, signal);
        throw error;
      });
    }
    const made = make();
    this.known.set(key, made);
    const forget = () => this.known.get(key) === made && this.known.delete(key);
    made.then((verdict) => this.keep(verdict) || forget(), forget);
    for (const oldest of this.known.keys()) {
      if (this.known.size <= this.size) break;
      this.known.delete(oldest);
    }
    return made;
  }
}

/** JSON drops what rows from code may hold. */
function plain(_: string, value: unknown): unknown {
  if (typeof value === 'bigint') return { bigint: String(value) };
  if (typeof value === 'number' && !Number.isFinite(value)) return { number: String(value) };
  if (value === undefined) return { undefined: true };
  return value instanceof Set || value instanceof Map ? { kind: value.constructor.name, entries: [...(value as Iterable<unknown>)] } : value;
}
