import { existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { dirname, extname, relative, resolve } from 'node:path';
import { EspalierError, isEspalierError, type Plugin } from '@espalier/spec';
import { createJiti } from 'jiti';
import { parse, YAMLParseError } from 'yaml';
import { nearest } from './nearest';
import type { Pipeline } from './pipeline';
import { createRegistry } from './registry';
import { stageKit } from './stage-kit';
import type { EspalierConfig } from './define-config';
import { readPipelineConfig } from './yaml-pipeline';

/** A configuration that was loaded: its pipeline is made. */
export interface PipelineConfig extends Omit<EspalierConfig, 'pipeline'> {
  pipeline: Pipeline;
}

const scripts = new Set(['.ts', '.mts', '.cts', '.js', '.mjs', '.cjs']);
const documents = new Set(['.yaml', '.yml', '.json']);

/**
 * Loads a pipeline from a TypeScript or JavaScript module (its default export, or one named `config`) or from a YAML or JSON file.
 * @throws EspalierError `not_found` without such a file; `bad_config` naming file, field and what would do
 */
export async function loadConfig(path: string): Promise<PipelineConfig> {
  const file = resolve(path);
  const info = await stat(file).catch(() => null);
  if (!info?.isFile()) throw new EspalierError('not_found', `there is no file ${path}`, { fix: 'name an espalier.config.ts or a .yaml file' });
  const extension = extname(file).toLowerCase();
  if (scripts.has(extension)) return loadScript(file, path);
  if (documents.has(extension)) return readPipelineConfig(parseDocument(await readFile(file, 'utf8'), path), { path, baseDir: dirname(file), loadPlugin });
  throw new EspalierError('bad_config', `${path} is neither a module nor YAML`, { fix: 'it ends with .ts, .js, .yaml or .json' });
}

/**
 * A user's own module, TypeScript included; `path` is what the user calls it.
 * @throws EspalierError `bad_config` when it does not load, or what it throws itself
 */
export async function importFile(file: string, path: string): Promise<Record<string, unknown>> {
  try {
    return await importModule(file, file);
  } catch (error) {
    if (isEspalierError(error)) throw error;
    throw new EspalierError('bad_config', `${path} does not load: ${String((error as Error).message).split('\n')[0]}`, { cause: error });
  }
}

/** A module by path or by package name, TypeScript included. */
async function importModule(specifier: string, from: string): Promise<Record<string, unknown>> {
  const jiti = createJiti(from, { interopDefault: false, moduleCache: true });
  return (await jiti.import(specifier)) as Record<string, unknown>;
}

async function loadScript(file: string, path: string): Promise<PipelineConfig> {
  const config = await readScript(file, path);
  const registry = createRegistry(config.plugins);
  const { pipeline } = config;
  const made = typeof pipeline === 'function' ? await pipeline(stageKit(registry)) : pipeline;
  if (!Array.isArray(made?.stages)) throw new EspalierError('bad_config', `${path} ${pipeline === undefined ? 'has' : 'makes'} no pipeline`, { fix: 'export default defineConfig({ pipeline: pipeline(…) })' });
  return { ...config, pipeline: made! };
}

const fields = ['name', 'outputDir', 'seed', 'plugins', 'pipeline'];

/** What the module exports, checked as far as it can be without making the pipeline. */
async function readScript(file: string, path: string): Promise<EspalierConfig> {
  const module = await importFile(file, path);
  const config = (module['default'] ?? module['config']) as EspalierConfig | undefined;
  if (typeof config !== 'object' || config === null) throw new EspalierError('bad_config', `${path} exports no configuration`, { fix: 'export default defineConfig({ pipeline: pipeline(…) })' });
  const stray = Object.keys(config).find((name) => !fields.includes(name));
  if (stray !== undefined) {
    const close = nearest(stray, fields);
    throw new EspalierError('bad_config', `${path}: unknown field \`${stray}\``, { fix: close ? `did you mean \`${close}\`?` : `it takes ${fields.join(', ')}` });
  }
  if (config.plugins !== undefined && !Array.isArray(config.plugins)) throw new EspalierError('bad_config', `${path}: \`plugins\` is no list`, { fix: 'plugins: [myPlugin]' });
  return config;
}

/** The file that `espalier` looks for in the folder that it runs in. */
export const configNames = ['espalier.config.ts', 'espalier.config.mts', 'espalier.config.js', 'espalier.config.mjs'] as const;

/**
 * The plugins that the folder's `espalier.config.ts` registers. Its pipeline is not made.
 * @returns null where there is no such file
 * @throws EspalierError `bad_config` when it does not load
 */
export async function configuredPlugins(dir: string = process.cwd()): Promise<{ path: string; plugins: readonly Plugin[] } | null> {
  const path = configNames.map((name) => resolve(dir, name)).find((candidate) => existsSync(candidate));
  return path === undefined ? null : { path, plugins: (await readScript(path, relative(process.cwd(), path) || path)).plugins ?? [] };
}

function parseDocument(text: string, path: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    const line = error instanceof YAMLParseError && error.linePos ? `:${error.linePos[0].line}` : '';
    throw new EspalierError('bad_config', `${path}${line}: ${(error as Error).message.split('\n')[0]}`, { cause: error });
  }
}

/**
 * Loads a plugin: the default export of a module, or one named `plugin`.
 * @param specifier a path relative to `baseDir`, or a package's name; `brevity` stands for `espalier-plugin-brevity` too, `@scope/brevity` for `@scope/espalier-plugin-brevity`
 * @throws EspalierError `not_found`, `bad_config`
 */
export async function loadPlugin(specifier: string, baseDir: string = process.cwd()): Promise<Plugin> {
  const isPath = /^[./]/.test(specifier);
  const names = isPath ? [resolve(baseDir, specifier)] : [specifier, ...(/(^|\/)espalier-plugin-/.test(specifier) ? [] : [specifier.replace(/([^/]+)$/, 'espalier-plugin-$1')])];
  let failure: EspalierError | undefined;
  for (const name of names) {
    let module: Record<string, unknown>;
    try {
      module = await importModule(name, resolve(baseDir, 'noop.js'));
    } catch (error) {
      if (isEspalierError(error)) throw error;
      const { code, message } = error as NodeJS.ErrnoException;
      const absent = (code === 'MODULE_NOT_FOUND' || code === 'ERR_MODULE_NOT_FOUND') && message.includes(name);
      failure ??= new EspalierError(absent ? 'not_found' : 'bad_config', `plugin "${specifier}" does not load: ${String(message).split('\n')[0]}`, absent && !isPath ? { cause: error, fix: `npm install ${names.at(-1)}` } : { cause: error });
      if (absent) continue;
      throw failure;
    }
    const exported = (module['default'] ?? module['plugin']) as Plugin | undefined;
    const plugin = exported && 'plugin' in exported && !('specVersion' in exported) ? (exported as unknown as { plugin: Plugin }).plugin : exported; // a CommonJS module's exports
    if (typeof plugin !== 'object' || plugin === null || !('specVersion' in plugin || 'name' in plugin)) throw new EspalierError('bad_config', `"${specifier}" exports no plugin`, { fix: 'export default definePlugin({ … }), or export it as `plugin`' });
    return plugin;
  }
  throw failure!;
}
