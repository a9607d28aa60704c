import { EspalierError } from '@espalier/spec';
import { join } from 'node:path';
import { pathKind, readJsonObject } from './files';

/** The content of a `generation_config.json`: what the model's makers generate with. */
export type GenerationConfig = Readonly<Record<string, unknown>>;

/** Reads a folder's `generation_config.json`; `{}` when there is none. */
export function readGenerationConfig(folder: string): GenerationConfig {
  const path = join(folder, 'generation_config.json');
  return pathKind(path) === 'file' ? readJsonObject(path, 1024 * 1024) : {};
}

/** An `eos_token_id` field as a list: it may be absent, one id or several. */
export function tokenIds(value: unknown, where: string): number[] {
  if (value === undefined || value === null) return [];
  const list = Array.isArray(value) ? value : [value];
  if (!list.every((id) => Number.isSafeInteger(id) && (id as number) >= 0)) throw new EspalierError('bad_checkpoint', `${where} is not a token id or a list of them`);
  return list as number[];
}
