import { existsSync } from 'node:fs';
import { EspalierError } from '@espalier/spec';
import { chatFormats } from './chat-formats';
import { columnTypes, type ColumnType } from './csv-cells';
import { fileFormats, type LoadRowsOptions } from './load-rows';

/** What a user writes in the place of a dataset, taken apart. */
export interface DatasetRef {
  /** A file, a task with its options, or a dataset on the hub. */
  source: string;
  /** How the file is read. */
  load: LoadRowsOptions;
  /** A configuration of a hub dataset. */
  config?: string;
  /** A part of the rows, by {@link split}. */
  part?: { shares: Readonly<Record<string, number>>; take: string; seed: number };
}

const keys = ['split', 'take', 'seed', 'chat', 'format', 'types', 'delimiter', 'quote', 'field', 'config'] as const;
const delimiters: Readonly<Record<string, string>> = { tab: '\t', comma: ',', semicolon: ';', pipe: '|', space: ' ' };

/**
 * Takes a reference apart: `SOURCE#key=value;key=value`. Keys: `split` (shares that add up to 1) with `take` and `seed`; `chat`, `format`, `types`, `delimiter`,
 * `quote`, `field` say how a file is read; `config` names a configuration of a hub dataset. A file whose name holds `#` goes before.
 *
 * @throws EspalierError `bad_config` for a key or value that makes no sense
 * @example
 * parseDatasetRef('rows.csv#types=label:boolean;split=sft:0.4,rpt:0.6;take=rpt;seed=7');
 */
export function parseDatasetRef(ref: string): DatasetRef {
  const at = ref.indexOf('#');
  if (at < 0 || existsSync(ref)) return { source: ref, load: {} };
  const wrong = (message: string, fix: string) => new EspalierError('bad_config', `"${ref}": ${message}`, { fix });
  const values = new Map<string, string>();
  for (const pair of ref.slice(at + 1).split(';').filter((text) => text.trim() !== '')) {
    const equals = pair.indexOf('=');
    const key = pair.slice(0, equals).trim();
    if (equals < 1 || !(keys as readonly string[]).includes(key)) throw wrong(`"${pair}" is no option of a dataset`, `key=value, separated by ; with one of the keys ${keys.join(', ')}`);
    if (values.has(key)) throw wrong(`\`${key}\` is given twice`, 'once');
    values.set(key, pair.slice(equals + 1).trim());
  }
  const one = <T extends string>(key: string, choices: readonly T[]): T | undefined => {
    const value = values.get(key);
    if (value !== undefined && !(choices as readonly string[]).includes(value)) throw wrong(`\`${key}\` is "${value}"`, `one of ${choices.join(', ')}`);
    return value as T | undefined;
  };
  const load: LoadRowsOptions = {};
  const chat = one('chat', ['auto', 'none', ...chatFormats]);
  const format = one('format', fileFormats);
  const quote = one('quote', ['double', 'single', 'none']);
  const delimiter = values.get('delimiter');
  const field = values.get('field');
  if (chat) load.chat = chat;
  if (format) load.format = format;
  if (quote) load.quote = quote === 'none' ? null : quote === 'single' ? "'" : '"';
  if (delimiter !== undefined) load.delimiter = delimiters[delimiter] ?? delimiter;
  if (load.delimiter !== undefined && load.delimiter.length !== 1) throw wrong(`\`delimiter\` is "${delimiter}"`, `one character, or one of ${Object.keys(delimiters).join(', ')}`);
  if (field !== undefined) load.field = field;
  const types = values.get('types');
  if (types !== undefined) load.types = Object.fromEntries(pairs(types).map(([name, type]) => {
    if (!(columnTypes as readonly string[]).includes(type)) throw wrong(`the type of \`${name}\` is "${type}"`, `one of ${columnTypes.join(', ')}`);
    return [name, type as ColumnType];
  }));
  const config = values.get('config');
  return { source: ref.slice(0, at), load, ...(config === undefined ? {} : { config }), ...partOf(values, wrong) };
}

const pairs = (text: string): [name: string, value: string][] =>
  text.split(',').map((pair) => [pair.slice(0, Math.max(pair.lastIndexOf(':'), 0)).trim(), pair.slice(pair.lastIndexOf(':') + 1).trim()]);

function partOf(values: ReadonlyMap<string, string>, wrong: (message: string, fix: string) => EspalierError): Pick<DatasetRef, 'part'> {
  const [split, take, seed] = [values.get('split'), values.get('take'), values.get('seed')];
  if (split === undefined) {
    const stray = take !== undefined ? 'take' : seed !== undefined ? 'seed' : undefined;
    if (stray) throw wrong(`\`${stray}\` is given without \`split\``, 'split=sft:0.4,rpt:0.6;take=rpt');
    return {};
  }
  const entries = pairs(split);
  const shares = Object.fromEntries(entries.map(([name, share]) => [name, Number(share)]));
  if (entries.some(([name, share]) => name === '' || share === '' || !(Number(share) > 0)) || Object.keys(shares).length !== entries.length) throw wrong(`\`split\` is "${split}"`, 'names with their shares, such as split=sft:0.4,rpt:0.6');
  if (take === undefined || !(take in shares)) throw wrong(take === undefined ? '`take` is missing' : `\`take\` is "${take}"`, `one of ${Object.keys(shares).join(', ')}`);
  if (seed !== undefined && !/^\d{1,10}$/.test(seed)) throw wrong(`\`seed\` is "${seed}"`, 'a whole number from 0 on');
  return { part: { shares, take, seed: Number(seed ?? 0) } };
}
