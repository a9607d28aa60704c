import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** What tells a model's weights from others: a hash over its file, or over the files of its folder; an id of the hub as it is. */
export async function modelIdentity(model: string): Promise<string> {
  const info = await stat(model).catch(() => null);
  if (!info) return model;
  const hash = createHash('sha256');
  const files = info.isDirectory() ? (await readdir(model, { withFileTypes: true })).filter((entry) => entry.isFile() && !entry.name.startsWith('optimizer')).map(({ name }) => name).sort() : [''];
  for (const name of files) {
    hash.update(`${name}\0`);
    for await (const chunk of createReadStream(join(model, name))) hash.update(chunk as Buffer);
  }
  return hash.digest('hex').slice(0, 32);
}
