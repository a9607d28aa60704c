import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { EspalierError } from '@espalier/spec';
import { kinds, type Kind } from './kinds';
import { readPluginName, type PluginName } from './plugin-name';
import { fillTemplates } from './templates';

export interface ScaffoldOptions {
  /** As it is typed: `short-answers`, `@me/short-answers`. */
  name: string;
  kind: Kind;
  /** A new or empty folder. Default: the package's name without its scope, in the current one. */
  dir?: string;
  /** Default: what its kind is. */
  description?: string;
}

export interface Scaffolded {
  name: PluginName;
  dir: string;
  /** Paths inside `dir`, in alphabetical order. */
  files: readonly string[];
}

/**
 * Writes a plugin. No file is ever written over: the folder must be new, or hold nothing but `.git`.
 * @throws EspalierError `usage` for a wrong name or a folder that holds something, `io` when a file cannot be written
 * @example
 * await scaffold({ name: 'short-answers', kind: 'reward', dir: '/tmp/short-answers' });
 */
export async function scaffold({ name: typed, kind, dir, description }: ScaffoldOptions): Promise<Scaffolded> {
  const name = readPluginName(typed);
  const target = resolve(dir ?? name.folder);
  await demandEmpty(target);
  const files = await fillTemplates({ name, kind, range: await contractsRange(), description: description ?? `${capitalised(kinds[kind].about)} for Espalier` });
  for (const [path, text] of files) {
    const file = join(target, path);
    try {
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, text, { flag: 'wx' });
    } catch (cause) {
      throw new EspalierError('io', `${file} cannot be written: ${(cause as Error).message}`, { cause });
    }
  }
  return { name, dir: target, files: [...files.keys()].sort() };
}

/** @throws EspalierError `usage` unless nothing is lost by writing there */
export async function demandEmpty(dir: string): Promise<void> {
  const entries = await readdir(dir).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    if (error.code === 'ENOTDIR') throw new EspalierError('usage', `${dir} is a file`, { fix: 'name a folder that is new, with --dir' });
    throw new EspalierError('io', `${dir} cannot be read: ${error.message}`, { cause: error });
  });
  const found = entries.filter((entry) => entry !== '.git');
  if (found.length > 0) throw new EspalierError('usage', `${dir} is not empty: it holds ${found.slice(0, 3).join(', ')}${found.length > 3 ? ` and ${found.length - 3} more` : ''}`, { fix: 'another name, or --dir with a folder that is new or empty' });
}

/** The versions of the contracts that this release of create-espalier-plugin was made with. */
async function contractsRange(): Promise<string> {
  const manifest = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8')) as { dependencies: Record<string, string> };
  return manifest.dependencies['@espalier/spec'];
}

function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
