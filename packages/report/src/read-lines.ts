import { createReadStream } from 'node:fs';

export interface LinesRead {
  /** Whole records. */
  records: number;
  /** What could not be read, for people; null when all was well. A last line that was cut off (the run is being written, or was killed) is well. */
  problem: string | null;
}

/** A line longer than this is no record. */
const longestLine = 32 * 2 ** 20;

/**
 * Reads a file of JSON lines record by record. Lines that are no JSON objects are passed over and counted; a file that is not there has none.
 * @param name what messages call the file
 */
export async function readJsonLines(path: string, name: string, onRecord: (record: Record<string, unknown>) => void): Promise<LinesRead> {
  let records = 0;
  let line = 0;
  let damaged = 0;
  let firstDamaged = 0;
  let rest = '';
  const take = (text: string, last: boolean) => {
    line++;
    if (text.trim() === '') return;
    let record: unknown;
    try {
      record = JSON.parse(text);
    } catch {
      if (last) return; // torn
    }
    if (typeof record === 'object' && record !== null && !Array.isArray(record)) {
      records++;
      onRecord(record as Record<string, unknown>);
    } else {
      damaged++;
      firstDamaged ||= line;
    }
  };
  try {
    for await (const chunk of createReadStream(path, { encoding: 'utf8', highWaterMark: 1 << 18 }) as AsyncIterable<string>) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop()!;
      if (rest.length > longestLine) throw new Error(`line ${line + lines.length + 1} has no end`);
      for (const text of lines) take(text, false);
    }
    if (rest !== '') take(rest, true);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return { records, problem: code === 'ENOENT' || code === 'ENOTDIR' ? null : `${name}: ${message}` };
  }
  return { records, problem: damaged === 0 ? null : `${name}: ${damaged === 1 ? `line ${firstDamaged} is` : `${damaged} lines are`} not a JSON object${damaged === 1 ? '' : ` (the first is line ${firstDamaged})`}` };
}
