import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import type { Kind } from './kinds';
import { camelCase, pascalCase, type PluginName } from './plugin-name';

const manifest = 'package.json.template';
const root = fileURLToPath(new URL('../templates/', import.meta.url)); // beside `dist`, and beside `src`

/** Files by path, with `/` between folders. */
export type Files = ReadonlyMap<string, string>;

/** What the templates' words stand for. */
export interface Filling {
  name: PluginName;
  kind: Kind;
  description: string;
  /** Versions of @espalier/* that the plugin takes, such as `^0.1.0`. */
  range: string;
}

/**
 * The files of a plugin: those of `templates/common` and those of its kind, with the words between double underscores replaced. `package.json` of a kind is
 * laid over the common one; `usage.md` of a kind is put into the README. What is called `.template` loses that: npm packs no `.gitignore`, and
 * tools would take a package.json or an eslint.config.js that lies here for ours.
 */
export async function fillTemplates(filling: Filling): Promise<Files> {
  const common = await readFolder(join(root, 'common'));
  const own = await readFolder(join(root, filling.kind));
  const usage = own.get('usage.md') ?? '';
  const fill = filler(filling, usage);
  const files = new Map<string, string>();
  for (const [path, text] of [...common, ...own]) {
    if (path !== 'usage.md' && path !== manifest) files.set(path.replace(/\.template$/, ''), fill(text));
  }
  files.set('package.json', mergedManifest([common, own].flatMap((each) => each.get(manifest) ?? []).map(fill)));
  return files;
}

function filler({ name, description, range }: Filling, usage: string): (text: string) => string {
  const words: readonly (readonly [string, string])[] = [
    ['__usage__\n', usage], // first: it has words of its own
    ['__package__', name.package],
    ['__name__', name.part],
    ['__camelName__', camelCase(name.part)],
    ['__PascalName__', pascalCase(name.part)],
    ['__description__', description],
    ['__range__', range],
  ];
  return (text) => words.reduce((filled, [word, value]) => filled.replaceAll(word, () => value), text);
}

type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

function mergedManifest(texts: readonly string[]): string {
  const merge = (a: Json | undefined, b: Json): Json => (isObject(a) && isObject(b) ? { ...a, ...Object.fromEntries(Object.entries(b).map(([key, value]) => [key, merge(a[key], value)])) } : b);
  return `${JSON.stringify(texts.map((text) => JSON.parse(text) as Json).reduce((all, next) => merge(all, next)), null, 2)}\n`;
}

function isObject(value: Json | undefined): value is { [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

async function readFolder(folder: string, prefix = ''): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const entry of (await readdir(join(folder, prefix), { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = prefix === '' ? entry.name : `${prefix}/${entry.name}`;
    if (entry.isDirectory()) for (const [name, text] of await readFolder(folder, path)) files.set(name, text);
    else files.set(path, await readFile(join(folder, path), 'utf8'));
  }
  return files;
}
