import { EspalierError } from '@espalier/spec';
import type { z } from 'zod';
import { detectChatFormat, toTrlRow, type ChatFormat } from './chat-formats';
import { checkRow, describeIssues, describeOrigin, type Row, type RowOrigin, type RowType } from './rows';

/** What is done with each row of a file before it is given out. */
export interface RowOptions {
  /** Row types of which every row must be one; see {@link checkRow}. */
  accepted?: readonly RowType[];
  /** A schema for the rows besides. */
  schema?: z.ZodType<Row>;
  /** How conversations are written. Default `auto`: found out row by row; `none`: rows stay as they are. */
  chat?: ChatFormat | 'auto' | 'none';
  /** Told once a file of a format that was found out. Default: a warning of the process. */
  onNotice?: (message: string) => void;
  signal?: AbortSignal;
}

const noticed = new WeakMap<object, Set<string>>();

/** A row as trainers take it: conversations in TRL's form, checked. @throws EspalierError `bad_data` with file, line and field */
export function finishRow(given: Row, origin: RowOrigin, options: RowOptions): Row {
  let row = given;
  const chat = options.chat ?? 'auto';
  if (chat !== 'none') {
    const format = chat === 'auto' ? detectChatFormat(given) : chat;
    if (format !== null) {
      row = toTrlRow(given, format, origin);
      if (chat === 'auto') notice(format, row, origin, options);
    }
  }
  if (options.accepted) checkRow(row, options.accepted, origin);
  const result = options.schema?.safeParse(row);
  if (result && !result.success) throw new EspalierError('bad_data', `${describeOrigin(origin)}: ${describeIssues(result.error, row)}`);
  return result ? result.data : row;
}

const names: Readonly<Record<ChatFormat, string>> = { sharegpt: 'ShareGPT conversations', chatml: 'conversations of role and content', alpaca: 'Alpaca instructions' };
const warnedFiles = new Set<string>();

function notice(format: ChatFormat, row: Row, { file = 'rows' }: RowOrigin, options: RowOptions): void {
  const seen = options.onNotice ? (noticed.get(options) ?? noticed.set(options, new Set()).get(options)!) : warnedFiles;
  const key = `${format} ${file}`;
  if (seen.has(key)) return;
  seen.add(key);
  const message = `${file} holds ${names[format]}: they are read as ${['messages', 'prompt', 'completion', 'chosen', 'rejected'].filter((name) => row[name] !== undefined).map((name) => `\`${name}\``).join(' and ')} (chat=none leaves rows as they are)`;
  if (options.onNotice) options.onNotice(message);
  else process.emitWarning(message, 'EspalierNotice');
}
