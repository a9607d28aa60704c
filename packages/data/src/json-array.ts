import { EspalierError } from '@espalier/spec';
import { readWhole } from './file-chunks';
import { finishRow, type RowOptions } from './finish-row';
import { parseRow } from './jsonl';
import type { Row, RowOrigin } from './rows';

export interface ReadJsonOptions extends RowOptions {
  /** The key whose list holds the rows, in a file that is one object. */
  field?: string;
}

const maxBytes = 400 * 2 ** 20; // what a string can hold

/**
 * The rows of a `.json` file: an array of objects, one object with the rows in `field`, or JSON Lines.
 * @throws EspalierError `bad_data` with file and line, or the number of the row from 1
 */
export async function readJsonFile(path: string, options: ReadJsonOptions = {}): Promise<{ row: Row; origin: RowOrigin }[]> {
  const text = await readWhole(path, maxBytes);
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (cause) {
    const lines = text.split('\n').map((line, i) => ({ text: line, line: i + 1 })).filter((entry) => entry.text.trim() !== '');
    if (lines.length > 1 && isObject(lines[0].text)) return lines.map((entry) => ({ row: parseRow(entry.text, path, entry.line, options), origin: { file: path, line: entry.line } }));
    const at = /position (\d+)/.exec((cause as Error).message);
    const line = at ? text.slice(0, Number(at[1])).split('\n').length : text.split('\n').length;
    throw new EspalierError('bad_data', `${path}:${line}: not valid JSON: ${(cause as Error).message}`, { fix: 'an array of objects, or one JSON object a line', cause });
  }
  const rows = Array.isArray(document) ? document : rowsOf(document, path, options.field);
  return rows.map((row: unknown, i) => {
    const origin = { file: path, row: i + 1 };
    if (typeof row !== 'object' || row === null || Array.isArray(row)) throw new EspalierError('bad_data', `${path}, row ${i + 1}: a row must be a JSON object, found ${JSON.stringify(row).slice(0, 40)}`, { fix: 'an array of objects' });
    return { row: finishRow(row as Row, origin, options), origin };
  });
}

function isObject(line: string): boolean {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

function rowsOf(document: unknown, path: string, field: string | undefined): unknown[] {
  const object = typeof document === 'object' && document !== null ? (document as Row) : {};
  const lists = Object.keys(object).filter((key) => Array.isArray(object[key]));
  if (field !== undefined) {
    if (Array.isArray(object[field])) return object[field];
    throw new EspalierError('bad_data', `${path}: there is no list \`${field}\``, { fix: lists.length > 0 ? `it has ${lists.map((key) => `\`${key}\``).join(', ')}` : 'an array of objects' });
  }
  if (document === null || typeof document !== 'object') throw new EspalierError('bad_data', `${path} holds ${JSON.stringify(document).slice(0, 40)}`, { fix: 'an array of objects' });
  return [document]; // JSON Lines of one line
}
