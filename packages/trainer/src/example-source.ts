import { ShuffledCursor, type CursorState, type RowStream, type StreamedRow, type StreamState } from '@espalier/data';
import { EspalierError } from '@espalier/spec';
import type { Json } from './trainer-state';

/** Where micro-batches take their examples from. */
export interface ExampleSource<Example> {
  /** Passes that are over, the part of the current one included. */
  epoch(): number;
  /** The next examples of the current pass, at most `count`, fewer at its end, at least one. `more`: the pass goes on behind them. */
  take(count: number, signal?: AbortSignal): Promise<{ examples: readonly Example[]; more: boolean }>;
  state(): Json;
  restore(state: Json): void;
}

/** Examples that are in memory, pass after pass, in an order that derives from the seed. */
export function examplesInMemory<Example>(examples: readonly Example[], options: { seed: number; shuffle: boolean; dropLast: number }): ExampleSource<Example> {
  const { seed, shuffle, dropLast } = options;
  let cursor = new ShuffledCursor(examples.length, { seed, shuffle });
  return {
    epoch: () => cursor.progress,
    async take(count) {
      const chosen = cursor.take(Math.min(count, cursor.remaining || examples.length)).map((i) => examples[i]);
      if (cursor.remaining < dropLast) cursor.take(cursor.remaining);
      return { examples: chosen, more: cursor.remaining > 0 };
    },
    state: () => ({ ...cursor.state() }),
    restore: (state) => void (cursor = ShuffledCursor.restore(examples.length, state as unknown as CursorState, { shuffle })),
  };
}

export interface StreamedExamplesOptions<Example> {
  /** A row as the loss takes it, or the several examples that it holds; null: it is left out. */
  prepare: (streamed: StreamedRow) => Example | readonly Example[] | null;
  /** Rows that are prepared together, for what one needs of its neighbours (packing). Default 64: a position is taken once for all of them. */
  windowRows?: number;
  arrange?: (examples: Example[]) => Example[];
  /** A last batch of a pass that is smaller than this is left out. */
  dropLast?: number;
}

/**
 * Examples made of a stream of rows as they are needed, a window of rows at a time. The position that is saved is that of the window's beginning and how many of
 * its examples were taken: the window is made again from it.
 */
export function streamedExamples<Example>(rows: RowStream, options: StreamedExamplesOptions<Example>): ExampleSource<Example> {
  const { prepare, arrange, windowRows = 64, dropLast = 0 } = options;
  let start: StreamState = rows.state(); // of the window
  let window: Example[] | null = null; // null: not made yet
  let given = 0;
  let ends = false; // the pass is over behind the window

  async function fill(signal: AbortSignal | undefined): Promise<void> {
    start = rows.state();
    ends = false;
    const examples: Example[] = [];
    for (let n = 0; n < windowRows && !ends; n++) {
      const streamed = await rows.next({ signal });
      if (streamed === null) ends = true;
      else {
        const example = prepare(streamed);
        if (Array.isArray(example)) examples.push(...(example as readonly Example[]));
        else if (example !== null) examples.push(example as Example);
      }
    }
    window = arrange ? arrange(examples) : examples;
  }

  /** The next example, null at the end of the pass, without taking it. */
  async function peek(signal: AbortSignal | undefined): Promise<{ example: Example } | null> {
    if (window === null) await fill(signal);
    while (given >= window!.length) {
      if (ends) return null;
      given = 0;
      await fill(signal);
    }
    return { example: window![given] };
  }

  function beginPass(): void {
    [window, given, ends, start] = [null, 0, false, rows.state()];
  }

  return {
    epoch: () => rows.progress(),
    async take(count, signal) {
      for (let emptyPasses = 0; ; ) {
        const examples: Example[] = [];
        let next = await peek(signal);
        for (; next !== null && examples.length < count; next = await peek(signal)) {
          examples.push(next.example);
          given++;
        }
        const more = next !== null;
        if (!more) beginPass();
        if (examples.length > 0 && (more || examples.length >= Math.min(dropLast, count))) return { examples, more };
        if (++emptyPasses > 1) throw new EspalierError('bad_data', `${rows.name}: a whole pass gave ${examples.length === 0 ? 'nothing to train on' : `${examples.length} rows, which do not fill one batch`}`, { fix: 'more rows; rows whose completion fits `max_length`' });
      }
    },
    state: () => ({ rows: start as Json, given }),
    restore(state) {
      const { rows: place, given: taken } = state as { rows: StreamState; given: number };
      rows.restore(place);
      [start, window, given, ends] = [place, null, taken, false];
    },
  };
}
