import type { Row, RowOrigin } from './rows';

/** A place in a stream: plain JSON, all that a checkpoint keeps. */
export type StreamState = { readonly [key: string]: unknown };

export interface StreamedRow {
  row: Row;
  origin: RowOrigin;
}

/** Rows one after another, pass after pass, of which only a few are in memory; its position can be saved. One reader at a time. */
export interface RowStream {
  readonly name: string;
  /** The next row; null at the end of a pass, after which the next one begins. @throws EspalierError `bad_data` with file, line and field; `aborted`; `io` */
  next(options?: { signal?: AbortSignal }): Promise<StreamedRow | null>;
  /** Passes that are over, the part of the current one included. */
  progress(): number;
  state(): StreamState;
  /** Goes on from a saved position, with the rows that would have come. @throws EspalierError `bad_data` for what is no position of this stream */
  restore(state: StreamState): void;
  /** What tells one stream from another, without reading all of it: plain JSON. */
  digest(): Promise<StreamState>;
}

/** Whether something is a stream of rows rather than rows by number. */
export function isRowStream(value: unknown): value is RowStream {
  return typeof value === 'object' && value !== null && typeof (value as RowStream).next === 'function' && typeof (value as RowStream).restore === 'function';
}
