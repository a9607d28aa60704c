import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';

/** The keyword in a plugin's `package.json`. */
export const pluginKeyword = 'espalier-plugin';

/** A package that is called as a plugin is, found where Node would look for it. Nothing of it has been loaded. */
export interface DiscoveredPlugin {
  name: string;
  version: string;
  /** Its folder. */
  path: string;
  /** Whether its keywords say that it is a plugin. Its name alone may be a coincidence. */
  keyword: boolean;
}

/** Whether a package's name follows the convention: `espalier-plugin-*` or `@scope/espalier-plugin-*`. */
export const isPluginName = (name: string): boolean => /^(@[^/]+\/)?espalier-plugin-[^/]+$/.test(name);

const list = (path: string): Promise<string[]> => readdir(path).catch(() => []);

/**
 * Packages by the convention, in every `node_modules` from a folder up to the root; the nearest of a name counts. They are found, not loaded: what is used is what was
 * registered.
 * @example
 * for (const { name, version } of await discoverPlugins()) console.log(name, version);
 */
export async function discoverPlugins(dir: string = process.cwd()): Promise<DiscoveredPlugin[]> {
  const found = new Map<string, DiscoveredPlugin>();
  for (let folder = resolve(dir); ; folder = dirname(folder)) {
    const modules = join(folder, 'node_modules');
    const names = await list(modules);
    const scoped = await Promise.all(names.filter((name) => name.startsWith('@')).map(async (scope) => (await list(join(modules, scope))).map((name) => `${scope}/${name}`)));
    for (const name of [...names, ...scoped.flat()].filter(isPluginName).sort()) {
      if (found.has(name)) continue;
      const plugin = await describe(name, join(modules, name));
      if (plugin) found.set(name, plugin);
    }
    if (folder === dirname(folder)) return [...found.values()];
  }
}

async function describe(name: string, path: string): Promise<DiscoveredPlugin | null> {
  try {
    const { version, keywords } = JSON.parse(await readFile(join(path, 'package.json'), 'utf8')) as { version?: unknown; keywords?: unknown };
    return { name, version: typeof version === 'string' ? version : '?', path, keyword: Array.isArray(keywords) && keywords.includes(pluginKeyword) };
  } catch {
    return null; // no package
  }
}
