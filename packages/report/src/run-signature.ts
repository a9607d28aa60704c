import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

const files = ['config.json', 'command.json', 'metrics.jsonl', 'samples.jsonl', 'log.jsonl', 'pipeline.json', 'control.json'];

/** Changes whenever a file that the page is made of does: sizes and times of those in the folder and in the folders of its stages, or of its control. */
export async function runSignature(dir: string, depth = 0): Promise<string> {
  const own = await Promise.all(files.map((name) => stat(join(dir, name)).then(({ size, mtimeMs }) => `${size}@${mtimeMs}`, () => '-')));
  if ((own[5] === '-' && own[6] === '-') || depth > 6) return own.join(' ');
  const folders = (await readdir(dir, { withFileTypes: true }).catch(() => [])).filter((entry) => entry.isDirectory()).map(({ name }) => name).sort();
  const stages = await Promise.all(folders.map(async (name) => `${name}: ${await runSignature(join(dir, name), depth + 1)}`));
  return [...own, ...stages].join('\n');
}
