import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** Every file under a path with a digest of its content. */
export async function filesIn(path: string): Promise<Record<string, string>> {
  if (!(await stat(path)).isDirectory()) return { [path]: createHash('sha256').update(await readFile(path)).digest('hex') };
  const inside = await Promise.all((await readdir(path)).sort().map((name) => filesIn(join(path, name))));
  return Object.assign({}, ...inside) as Record<string, string>;
}
