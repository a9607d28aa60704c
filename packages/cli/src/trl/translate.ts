import { EspalierError } from '@espalier/spec';
import { camelCase } from '../fields';
import { isInert, type Part } from './field';
import { readAdapters, readModel, readRewards } from './other-parts';
import type { PartContext } from './part';
import { readRows } from './rows-part';
import { trlFieldsOf } from './table';

const parts: Readonly<Record<Part, (fields: Readonly<Record<string, unknown>>, context: PartContext) => void>> = { rows: readRows, model: readModel, adapters: readAdapters, rewards: readRewards };

/**
 * A file with TRL's fields as one with ours: what is honoured under the name it has here, what is ignored left out with a notice. Keys that are not TRL's, and
 * keys in camelCase, stay as they are.
 *
 * @param command the command that the file is for: `sft`, `dpo`, `grpo` …
 * @param where the file's name, for messages
 * @throws EspalierError `unsupported` for a field that is refused, with the reason and what would do
 */
export function translateTrl(command: string, given: Readonly<Record<string, unknown>>, where: string): { values: Record<string, unknown>; notes: string[] } {
  const table = trlFieldsOf(command);
  if (!table) return { values: { ...given }, notes: [] };
  const values: Record<string, unknown> = {};
  const notes: string[] = [];
  const names = new Map<string, string>();
  const take = (key: string, value: unknown, from: string): void => {
    const name = camelCase(key);
    const before = names.get(name);
    if (before !== undefined) throw new EspalierError('bad_config', `${where}: \`${from}\` is given twice${before === from ? '' : `: as \`${before}\` too`}`);
    names.set(name, from);
    values[key] = value;
  };
  const note = (field: string, text: string): void => void notes.push(`${where}: \`${field}\`: ${text}`);
  const refuse = (field: string, why: string, fix: string): never => {
    throw new EspalierError('unsupported', `${where}: \`${field}\` is refused: ${why}`, { fix });
  };

  const together = new Map<Part, Record<string, unknown>>();
  for (const [key, value] of Object.entries(given)) {
    const field = table.get(key);
    if (!field) take(key, value, key);
    else if (field.verdict !== 'honoured') {
      if (isInert(field, value)) continue;
      if (field.verdict === 'refused') refuse(key, field.note ?? '', field.fix ?? '');
      note(key, `ignored: ${field.note}`);
    } else if (field.part) together.set(field.part, { ...together.get(field.part), [key]: value });
    else {
      const read = field.read ? field.read(value, { given, note: (text) => note(key, text), refuse: (why, fix) => refuse(key, why, fix) }) : value;
      if (read !== undefined) take(field.as ?? key, read, key);
    }
  }
  for (const [part, fields] of together) {
    parts[part](fields, { command, given, note, refuse, set: (name, value) => take(name, value, Object.keys(fields)[0]) });
  }
  return { values, notes };
}
