import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { cachedSnapshot, fetchHubFiles, hubError, hubSettings, listHubRepo, type HubOptions, type HubRepo } from '@espalier/data/hub';
import { EspalierError } from '@espalier/spec';

export type { HubOptions } from '@espalier/data/hub';

/** `org/name`, with `@revision` and, for one file of many, `/file.gguf` if need be. */
const hubReference = /^([\w.-]{1,96}\/[\w.-]{1,96}?)(?:\/([\w.-]{1,200}\.gguf))?(?:@([\w./-]{1,200}))?$/;
const smallFiles = ['config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'chat_template.jinja', 'chat_template.json'];

/** Whether a reference is written as a hub id is. `./a/b` and `/a/b` are not. */
export function isHubReference(reference: string): boolean {
  return hubReference.test(reference) && !/^\.{1,2}\//.test(reference);
}

/**
 * Fetches a model from the hub into the cache that `huggingface_hub` and `transformers` use, and returns the path of its folder there (of its `.gguf` file, when one is named).
 * What is cached is not fetched again. Every file is checked against the size, and where the hub has one the SHA-256, that it announces.
 *
 * @throws EspalierError `not_found` for a model that does not exist, is not to be seen with this token or, offline, not in the cache; `network` when the hub cannot be reached; `no_space`, `aborted`.
 * @example
 * const folder = await fetchFromHub('HuggingFaceTB/SmolLM2-135M-Instruct');
 */
export async function fetchFromHub(reference: string, options: HubOptions = {}): Promise<string> {
  const match = hubReference.exec(reference);
  if (!match) throw new EspalierError('not_found', `${reference} is not a hub id`, { fix: 'they are written org/name' });
  const [, name, file, revision = 'main'] = match;
  const settings = options.settings ?? hubSettings();
  const repo: HubRepo = { type: 'model', name, revision };
  const cached = cachedSnapshot(repo, settings)?.folder;
  const at = (snapshot: string): string => (file ? join(snapshot, file) : snapshot);
  if (settings.offline) {
    if (cached && existsSync(at(cached))) return at(cached);
    throw new EspalierError('not_found', `${reference} is not in the cache (${settings.cacheFolder}), and HF_HUB_OFFLINE forbids asking the hub`);
  }
  try {
    const listing = await listHubRepo(repo, { ...options, settings });
    const paths = [...listing.files.keys()].filter((path) => /^[\w][\w. -]*$/.test(path));
    return at(await fetchHubFiles(listing, wanted(paths, file, name), { ...options, settings }));
  } catch (error) {
    const failure = hubError(error, `${reference} is no file or folder here, and`, 'model', settings, options.signal);
    if (failure.code === 'network' && cached && isWhole(cached) && existsSync(at(cached))) return at(cached);
    throw failure;
  }
}

/** A snapshot that was interrupted lacks its weights, which come last. */
function isWhole(folder: string): boolean {
  const files = readdirSync(folder);
  return files.some((f) => f.endsWith('.gguf')) || (files.includes('config.json') && files.some((f) => f.endsWith('.safetensors')));
}

/** The files that a model needs, weights last. */
function wanted(paths: string[], file: string | undefined, name: string): string[] {
  if (file) {
    if (!paths.includes(file)) throw new EspalierError('not_found', `${name} has no file ${file}`, { fix: `it has ${paths.filter((p) => p.endsWith('.gguf')).join(', ') || 'no .gguf file'}` });
    return [file];
  }
  const small = smallFiles.filter((path) => paths.includes(path));
  if (paths.includes('model.safetensors')) return [...small, 'model.safetensors'];
  if (paths.includes('model.safetensors.index.json')) return [...small, 'model.safetensors.index.json', ...paths.filter((path) => /^model-\d{5}-of-\d{5}\.safetensors$/.test(path)).sort()];
  const gguf = paths.filter((path) => path.endsWith('.gguf'));
  if (gguf.length === 1) return gguf;
  if (gguf.length > 1) throw new EspalierError('not_found', `${name} has ${gguf.length} GGUF files`, { fix: `name one: ${gguf.slice(0, 8).map((path) => `${name}/${path}`).join(', ')}` }); // prettier-ignore
  throw new EspalierError('unsupported', `${name} has neither safetensors nor GGUF weights`);
}
