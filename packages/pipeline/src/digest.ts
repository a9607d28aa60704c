import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { EspalierError } from '@espalier/spec';

/** What a checkpoint folder holds besides the model: it changes with the run, not with the weights. */
const notTheModel = new Set(['optimizer.safetensors', 'trainer_state.json', 'training_args.json']);

async function addFile(hash: Hash, path: string): Promise<void> {
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
}

async function filesBelow(dir: string, prefix = ''): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(join(dir, prefix), { withFileTypes: true })) {
    const name = prefix ? `${prefix}/${entry.name}` : entry.name;
    if (entry.isDirectory()) found.push(...(await filesBelow(dir, name)));
    else if (entry.isFile() && !notTheModel.has(entry.name)) found.push(name);
  }
  return found.sort();
}

/**
 * The SHA-256 (hex) of what a file, or every file of a folder, contains. Names count, times and owners don't; an optimiser's state beside a
 * model is left out, so that two checkpoints with the same weights have the same digest.
 * @throws EspalierError `not_found` when nothing is there
 */
export async function digestPath(path: string): Promise<string> {
  const info = await stat(path).catch(() => null);
  if (!info) throw new EspalierError('not_found', `nothing to digest at ${path}`);
  const hash = createHash('sha256');
  if (info.isFile()) await addFile(hash, path);
  else {
    for (const name of await filesBelow(path)) {
      hash.update(`\0${name}\0`);
      await addFile(hash, join(path, name));
    }
  }
  return hash.digest('hex');
}

/** JSON with sorted keys, so that equal values give equal text. Functions and undefined are left out, typed arrays become arrays. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) => {
    if (typeof item === 'bigint') return item.toString();
    if (ArrayBuffer.isView(item) && !(item instanceof DataView)) return Array.from(item as unknown as ArrayLike<number>);
    if (item && typeof item === 'object' && !Array.isArray(item)) return Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
    return item;
  });
}

/** The SHA-256 (hex) of a value's canonical JSON. */
export function digestValue(value: unknown): string {
  return createHash('sha256').update(canonicalJson(value) ?? 'undefined').digest('hex');
}
