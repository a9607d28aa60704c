import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { defineStage, EspalierError, throwIfAborted, type RowsHandle, type Stage } from '@espalier/spec';

export interface __PascalName__Options {
  /** The column by which two rows are the same. Default `prompt`. */
  column?: string;
}

/**
 * Keeps the first of all rows that have the same `column`. Takes the rows that a stage before it made (JSON Lines), and gives those that are left.
 *
 * @throws EspalierError `bad_config`; when it runs, `bad_data` with file and line, `unsupported` for rows that are no JSON Lines
 * @example
 * pipeline(startFrom('my-model'), aiPreferences({ … }), __camelName__Stage({ column: 'prompt' }), dpo({}))
 */
export function __camelName__Stage(options: __PascalName__Options = {}): Stage<{ rows: RowsHandle }, { rows: RowsHandle }> {
  const { column = 'prompt' } = options;
  if (typeof column !== 'string' || column === '') throw new EspalierError('bad_config', `__name__: \`column\` is ${JSON.stringify(column)}`, { fix: 'the name of a column' });
  return defineStage<{ rows: RowsHandle }, { rows: RowsHandle }>({
    name: '__name__',
    needs: ['rows'],
    gives: ['rows'],
    async run({ rows }, { dir, signal, report }) {
      if (!/\.jsonl?$/.test(rows.path)) throw new EspalierError('unsupported', `__name__: ${rows.path} is no JSON Lines`, { fix: 'rows in a .jsonl file' });
      const path = join(dir, 'rows.jsonl');
      const aside = `${path}.tmp`;
      const out = await open(aside, 'w');
      const digest = createHash('sha256');
      const seen = new Set<string>();
      let line = 0;
      let kept = 0;
      try {
        for await (const text of createInterface({ input: createReadStream(rows.path), crlfDelay: Infinity })) {
          throwIfAborted(signal);
          line++;
          if (text.trim() === '') continue;
          const key = JSON.stringify(readRow(text, `${rows.path}:${line}`)[column] ?? null);
          if (!seen.has(key)) {
            seen.add(key);
            await out.write(`${text}\n`);
            digest.update(`${text}\n`);
            kept++;
          }
          if (line % Math.ceil(rows.count / 100) === 0) report({ stage: '__name__', step: Math.min(line, rows.count), total: rows.count, metrics: { kept } });
        }
        await out.sync();
      } finally {
        await out.close();
      }
      await rename(aside, path); // whole, or not at all
      return { rows: { kind: 'rows', path, digest: digest.digest('hex'), count: kept } };
    },
  });
}

function readRow(text: string, where: string): Record<string, unknown> {
  let row: unknown;
  try {
    row = JSON.parse(text);
  } catch (cause) {
    throw new EspalierError('bad_data', `${where}: ${(cause as Error).message}`, { fix: 'a JSON object a line', cause });
  }
  if (typeof row !== 'object' || row === null || Array.isArray(row)) throw new EspalierError('bad_data', `${where}: a row is a JSON object`, { fix: '{"prompt": "…"}' });
  return row as Record<string, unknown>;
}
