import { readFile, stat } from 'node:fs/promises';
import { dirname, extname, resolve } from 'node:path';
import { EspalierError, isEspalierError, type Plugin } from '@espalier/spec';
import { createJiti } from 'jiti';
import { parse, YAMLParseError } from 'yaml';
import type { Pipeline } from './pipeline';
import { readPipelineConfig } from './yaml-pipeline';

/** A pipeline with where and how it runs: what `espalier.config.ts` exports and `espalier run` takes. */
export interface PipelineConfig {
  name?: string;
  /** Default: a new folder under `runs/`. */
  outputDir?: string;
  /** Default 42. */
  seed?: number;
  plugins?: readonly Plugin[];
  pipeline: Pipeline;
}

/**
 * Declares a configuration; for its types alone.
 * @example
 * // espalier.config.ts
 * export default defineConfig({ outputDir: 'runs/sums', pipeline: pipeline(startFrom('model.gguf'), rpt({ dataset: 'sums.jsonl', reward: ['numeric'] })) });
 */
export function defineConfig(config: PipelineConfig): PipelineConfig {
  return config;
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

/** A module by path or by package name, TypeScript included. */
export async function importModule(specifier: string, from: string): Promise<Record<string, unknown>> {
  const jiti = createJiti(from, { interopDefault: false, moduleCache: true });
  return (await jiti.import(specifier)) as Record<string, unknown>;
}

async function loadScript(file: string, path: string): Promise<PipelineConfig> {
  let module: Record<string, unknown>;
  try {
    module = await importModule(file, file);
  } catch (error) {
    if (isEspalierError(error)) throw error;
    throw new EspalierError('bad_config', `${path} does not load: ${String((error as Error).message).split('\n')[0]}`, { cause: error });
  }
  const config = (module['default'] ?? module['config']) as Partial<PipelineConfig> | undefined;
  if (typeof config !== 'object' || config === null || !Array.isArray(config.pipeline?.stages)) {
    throw new EspalierError('bad_config', `${path} exports no pipeline`, { fix: 'export default defineConfig({ pipeline: pipeline(…) })' });
  }
  return config as PipelineConfig;
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
 * @param specifier a package's name, or a path relative to `baseDir`
 * @throws EspalierError `not_found`, `bad_config`
 */
export async function loadPlugin(specifier: string, baseDir: string = process.cwd()): Promise<Plugin> {
  let module: Record<string, unknown>;
  try {
    module = await importModule(/^[./]/.test(specifier) ? resolve(baseDir, specifier) : specifier, resolve(baseDir, 'noop.js'));
  } catch (error) {
    if (isEspalierError(error)) throw error;
    const message = String((error as Error).message).split('\n')[0];
    const absent = (error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND' || (error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND';
    throw new EspalierError(absent ? 'not_found' : 'bad_config', `plugin "${specifier}" does not load: ${message}`, { cause: error });
  }
  const plugin = (module['default'] ?? module['plugin']) as Plugin | undefined;
  if (typeof plugin !== 'object' || plugin === null || plugin.specVersion === undefined) throw new EspalierError('bad_config', `"${specifier}" exports no plugin`, { fix: 'export default definePlugin({ … })' });
  return plugin;
}
