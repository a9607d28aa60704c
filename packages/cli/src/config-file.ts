import { readFileSync } from 'node:fs';
import { extname } from 'node:path';
import { nearest } from '@espalier/pipeline';
import { EspalierError } from '@espalier/spec';
import { parse, YAMLParseError } from 'yaml';
import { camelCase, type Field } from './fields';
import { readValue } from './values';

/**
 * Reads `--config`: a YAML or JSON mapping whose keys are fields in snake_case or camelCase.
 * @param translate other names and values for what the file holds: TRL's YAML, see ./trl
 * @returns values by camelCase name
 * @throws EspalierError `not_found` without such a file, `bad_config` for what is no mapping, an unknown key (the nearest is named) or one given twice
 */
export function readConfigFile(path: string, fields: readonly Field[], aliases: Readonly<Record<string, string>> = {}, translate: (given: Record<string, unknown>) => Record<string, unknown> = (given) => given): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    throw new EspalierError('not_found', `--config: cannot read ${path}: ${code === 'ENOENT' ? 'there is no such file' : (error as Error).message}`);
  }
  let parsed: unknown;
  try {
    parsed = extname(path) === '.json' ? JSON.parse(text) : parse(text);
  } catch (error) {
    const line = error instanceof YAMLParseError && error.linePos ? `:${error.linePos[0].line}` : '';
    throw new EspalierError('bad_config', `${path}${line}: ${(error as Error).message.split('\n')[0]}`);
  }
  if (parsed === null || parsed === undefined) return {};
  if (typeof parsed !== 'object' || Array.isArray(parsed)) throw new EspalierError('bad_config', `${path} holds ${Array.isArray(parsed) ? 'a list' : `a ${typeof parsed}`}`, { fix: 'it takes fields such as `learning_rate: 0.00002`' });
  const byName = new Map(fields.map((field) => [field.name, field]));
  const values: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(translate(parsed as Record<string, unknown>))) {
    const name = aliases[camelCase(key)] ?? camelCase(key);
    const field = byName.get(name);
    if (!field) {
      const close = nearest(key, [...byName.keys()].map(snake));
      throw new EspalierError('bad_config', `${path}: unknown field \`${key}\``, { fix: close ? `did you mean \`${close}\`?` : '--help lists the fields' });
    }
    if (name in values) throw new EspalierError('bad_config', `${path}: \`${key}\` is given twice`);
    if (value === null && !field.nullable) continue;
    values[name] = typeof value === 'string' ? readValue(field, value, `${path}: \`${key}\``) : value;
  }
  return values;
}

const snake = (name: string): string => name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);
