import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { builtinEnvironments, type EnvironmentFactory } from '@espalier/rollouts';
import { EspalierError, type Environment } from '@espalier/spec';
import { importFile } from './load-config';
import { nearest } from './nearest';
import type { Registry } from './registry';

/**
 * An environment as a user names it: `guess`, `guess:max=20,max_guesses=5`, an object for YAML, the path of a module, or a factory. Names are those of
 * `@espalier/rollouts` and of registered plugins; a module exports a function named `environment` (or as its default), which makes one from options.
 */
export type EnvironmentInput = string | EnvironmentFactory | { name: string; options?: Readonly<Record<string, unknown>> };

type Maker = (options: Readonly<Record<string, unknown>>) => Environment | Promise<Environment>;

const camelCase = (name: string): string => name.trim().replace(/[-_]([a-z])/g, (_, letter: string) => letter.toUpperCase());
const isPath = (name: string): boolean => /^\.{0,2}\//.test(name) || /\.[cm]?[jt]s$/.test(name);

/** @throws EspalierError `bad_config` */
function readEnvironment(input: Exclude<EnvironmentInput, EnvironmentFactory>): { name: string; options: Readonly<Record<string, unknown>> } {
  if (typeof input === 'object' && input !== null && typeof input.name === 'string') return { name: input.name, options: Object.fromEntries(Object.entries(input.options ?? {}).map(([key, value]) => [camelCase(key), value])) };
  if (typeof input !== 'string' || input.trim() === '') throw new EspalierError('bad_config', `${JSON.stringify(input)} is no environment`, { fix: 'a name, or { name, options }' });
  const colon = input.indexOf(':');
  if (colon < 0) return { name: input.trim(), options: {} };
  const pairs = input.slice(colon + 1).split(',').map((pair) => {
    const at = pair.indexOf('=');
    if (at < 1) throw new EspalierError('bad_config', `environment "${input}": "${pair}" is no option`, { fix: 'option=value, separated by commas' });
    return [camelCase(pair.slice(0, at)), pair.slice(at + 1)] as const;
  });
  return { name: input.slice(0, colon).trim(), options: Object.fromEntries(pairs) };
}

/**
 * Checks the name, and the options of a built-in one, before anything runs.
 * @throws EspalierError `not_found` naming the nearest; `bad_config`
 */
export function checkEnvironment(input: EnvironmentInput, registry?: Registry): void {
  if (typeof input === 'function') return;
  const { name, options } = readEnvironment(input);
  if (registry?.has('environments', name)) return;
  if (isPath(name)) {
    if (!existsSync(resolve(name))) throw new EspalierError('not_found', `there is no file ${name}`, { fix: 'a module that exports a function named environment' });
    return;
  }
  void builtIn(name, registry)(options);
}

/**
 * What makes the environment.
 * @throws EspalierError as {@link checkEnvironment}; `bad_config` for a module that exports none
 */
export async function resolveEnvironment(input: EnvironmentInput, registry?: Registry): Promise<EnvironmentFactory> {
  if (typeof input === 'function') return input;
  const { name, options } = readEnvironment(input);
  if (registry?.has('environments', name)) {
    const create = registry.lookup('environments', name);
    return () => create(options);
  }
  const make = isPath(name) ? await fromModule(name) : builtIn(name, registry);
  return () => make(options);
}

function builtIn(name: string, registry: Registry | undefined): Maker {
  const found = Object.hasOwn(builtinEnvironments, name) ? builtinEnvironments[name as keyof typeof builtinEnvironments] : undefined;
  if (found) return found;
  const known = [...Object.keys(builtinEnvironments), ...(registry?.list() ?? []).filter((part) => part.kind === 'environments').map((part) => part.name)];
  const close = nearest(name, known);
  throw new EspalierError('not_found', `there is no environment "${name}"`, { fix: close ? `did you mean ${close}? There are ${known.join(', ')}` : `there are ${known.join(', ')}; or name a module` });
}

async function fromModule(path: string): Promise<Maker> {
  const module = await importFile(resolve(path), path);
  const found = module['environment'] ?? module['default'];
  if (typeof found !== 'function') throw new EspalierError('bad_config', `${path} exports no function \`environment\``, { fix: 'export const environment = (options) => defineEnvironment({ … }): each episode needs one of its own' });
  return found as Maker;
}

/** What an environment depends on, for a stage's fingerprint. Of a function only its text is known. */
export function environmentFingerprint(input: EnvironmentInput | undefined): unknown {
  if (input === undefined) return undefined;
  return typeof input === 'function' ? { text: String(input) } : readEnvironment(input);
}
