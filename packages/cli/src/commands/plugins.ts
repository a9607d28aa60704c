import { relative } from 'node:path';
import { configuredPlugins, createRegistry, discoverPlugins, formatTable, loadPlugin, partKinds, type DiscoveredPlugin } from '@espalier/pipeline';
import { isEspalierError, type Plugin } from '@espalier/spec';
import { z } from 'zod';
import { buildCommand } from '../command';

/** A plugin as the list shows it. */
interface Listed {
  name: string;
  version: string | null;
  /** The file that registers it, the flag, or the folder where it was found. */
  from: string;
  /** `registered`: its parts can be named. `installed`: found by its name, and used by nothing until it is registered. `refused`: it does not load. */
  state: 'registered' | 'installed' | 'refused';
  spec_version: string | null;
  /** Names of its parts, by kind. */
  parts: Record<string, string[]>;
  reason?: string;
}

const shape = {
  plugin: z.array(z.string().min(1)).optional().describe('packages or files to load besides; may be given several times'),
};

const partsOf = (plugin: Plugin): Listed['parts'] => Object.fromEntries(partKinds.filter((kind) => plugin[kind] !== undefined).map((kind) => [kind, Object.keys(plugin[kind]!)]));

const listed = (plugin: Plugin, from: string, state: Listed['state'], found?: DiscoveredPlugin): Listed => ({ name: plugin.name, version: found?.version ?? null, from, state, spec_version: plugin.specVersion ?? null, parts: partsOf(plugin) });

/** A plugin that was found, loaded to see what it brings: one that does not load says why, and spoils nothing. */
async function look(found: DiscoveredPlugin): Promise<Listed> {
  try {
    const plugin = await loadPlugin(found.name, found.path);
    createRegistry([plugin]);
    return { ...listed(plugin, found.path, 'installed', found), ...(found.keyword ? {} : { reason: 'its package.json lacks the keyword espalier-plugin' }) };
  } catch (error) {
    if (!isEspalierError(error)) throw error;
    return { name: found.name, version: found.version, from: found.path, state: 'refused', spec_version: null, parts: {}, reason: error.message };
  }
}

export const pluginsCommand = () =>
  buildCommand({
    name: 'plugins',
    summary: 'what plugins are loaded, from where, and what they bring',
    shape,
    notes:
      'Registered are the plugins of espalier.config.ts in this folder and of --plugin: their parts can be named. Installed ones are packages called espalier-plugin-* or @scope/espalier-plugin-*: nothing uses them until they are registered. With --json: {"plugins": [{"name", "version", "from", "state", "spec_version", "parts", "reason"}]}.',
    async run(values, { output }) {
      const found = await discoverPlugins();
      const byName = new Map(found.map((plugin) => [plugin.name, plugin]));
      const configured = await configuredPlugins();
      const registry = createRegistry(configured?.plugins ?? []); // refuses what speaks other contracts
      const list = (configured?.plugins ?? []).map((plugin) => listed(plugin, relative(process.cwd(), configured!.path), 'registered', byName.get(plugin.name)));
      for (const specifier of values.plugin ?? []) {
        const plugin = await loadPlugin(specifier);
        if (registry.plugins.some(({ name }) => name === plugin.name)) continue;
        registry.register(plugin);
        list.push(listed(plugin, `--plugin ${specifier}`, 'registered', byName.get(plugin.name)));
      }
      for (const plugin of found) if (!list.some(({ name }) => name === plugin.name)) list.push(await look(plugin));
      await output.result({ plugins: list });
      if (list.length === 0) return output.line('no plugin is registered or installed here; npm create espalier-plugin makes one');
      const brings = ({ parts, reason }: Listed) => [...Object.entries(parts).map(([kind, names]) => `${kind} ${names.join(', ')}`), ...(reason === undefined ? [] : [reason])].join('; ');
      output.line(formatTable(['plugin', 'version', 'state', 'from', 'brings'], list.map((plugin) => [plugin.name, plugin.version ?? '', plugin.state, relative(process.cwd(), plugin.from).startsWith('..') ? plugin.from : relative(process.cwd(), plugin.from) || plugin.from, brings(plugin)])));
    },
  });
