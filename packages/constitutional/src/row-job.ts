import { createHash } from 'node:crypto';
import { throwIfAborted } from '@espalier/spec';
import { openRowLog, type RowLog } from './row-log';

/** What every job over rows takes. */
export interface RowJobOptions {
  /** Log of what is finished: `resume` goes on from it. Default: none is kept. */
  log?: string;
  resume?: boolean;
  /** Rows that are worked on together. Default 16. */
  batchSize?: number;
  seed?: number;
  signal?: AbortSignal;
  onProgress?(done: number, total: number): void;
}

/**
 * Works through numbered rows in batches; each batch is on the disk before the next begins. What a row comes to must depend on the row, its number and the
 * seed alone, not on its batch: rows that are left over after an interruption are batched otherwise.
 * @returns one entry a row, by number
 */
export async function runRows<Item, Entry extends { index: number }>(kind: string, items: readonly Item[], identity: unknown, options: RowJobOptions, work: (batch: readonly { index: number; item: Item }[]) => Promise<readonly Entry[]>): Promise<Entry[]> {
  const { batchSize = 16, signal, onProgress } = options;
  const log: RowLog<Entry> = options.log === undefined ? memoryLog() : await openRowLog<Entry>(options.log, kind, digest([identity, options.seed ?? 0, items]), options.resume ?? false);
  try {
    const left = items.map((item, index) => ({ index, item })).filter(({ index }) => !log.done.has(index));
    onProgress?.(log.done.size, items.length);
    for (let start = 0; start < left.length; start += batchSize) {
      throwIfAborted(signal);
      await log.append(await work(left.slice(start, start + batchSize)));
      onProgress?.(log.done.size, items.length);
    }
    return items.map((_, index) => log.done.get(index)!);
  } finally {
    await log.close();
  }
}

function memoryLog<Entry extends { index: number }>(): RowLog<Entry> {
  const done = new Map<number, Entry>();
  return { done, append: async (entries) => entries.forEach((entry) => void done.set(entry.index, entry)), close: async () => undefined };
}

/** A short SHA-256 of plain JSON. */
export function digest(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 32);
}
