import { packSequences, type PackingStrategy } from '@espalier/data';
import type { TokenizedRow } from './rows';

/** A row of a micro-batch: documents that attention keeps apart and whose positions begin at 0 each. Without packing there is one. */
export interface PackedRow {
  documents: readonly TokenizedRow[];
}

/** Rows that are packed together: as many as TRL's `map` gives to `pack_dataset` at once. */
export const packingWindow = 1000;

/**
 * Packs documents into rows of at most `maxLength` tokens, as TRL packs 1000 rows at a time: `bfd` cuts what is longer, `bfd_split` divides it into several
 * documents, `wrapped` joins everything and cuts it anew, so that a row is one document in which attention crosses what was joined.
 *
 * @throws EspalierError `bad_config` for a strategy that does not exist
 * @example
 * packDocuments(rows, 1024, 'bfd'); // [{ documents: [row, row] }, …]
 */
export function packDocuments(rows: readonly TokenizedRow[], maxLength: number, strategy: PackingStrategy): PackedRow[] {
  const packed: PackedRow[] = [];
  for (let from = 0; from < rows.length; from += packingWindow) {
    const window = rows.slice(from, from + packingWindow);
    for (const segments of packSequences(window.map(({ tokens }) => tokens.length), maxLength, strategy)) {
      const documents = segments.map(({ item, start, end }) => ({ tokens: window[item].tokens.subarray(start, end), lossMask: window[item].lossMask.subarray(start, end) }));
      packed.push({ documents: strategy === 'wrapped' ? [joined(documents)] : documents });
    }
  }
  return packed;
}

function joined(documents: readonly TokenizedRow[]): TokenizedRow {
  const length = documents.reduce((n, { tokens }) => n + tokens.length, 0);
  const whole = { tokens: new Int32Array(length), lossMask: new Uint8Array(length) };
  let at = 0;
  for (const { tokens, lossMask } of documents) {
    whole.tokens.set(tokens, at);
    whole.lossMask.set(lossMask, at);
    at += tokens.length;
  }
  return whole;
}
