import { EspalierError, isEspalierError, throwIfAborted } from '@espalier/spec';
import { createHash, randomBytes } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { fileError, writeFileAtomically } from './files';
import { hubSettings, type HubSettings } from './hub-settings';

/** `org/name`, with `@revision` and, for one file of many, `/file.gguf` if need be. */
const hubReference = /^([\w.-]{1,96}\/[\w.-]{1,96}?)(?:\/([\w.-]{1,200}\.gguf))?(?:@([\w./-]{1,200}))?$/;
const smallFiles = ['config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'chat_template.jinja', 'chat_template.json'];

export interface HubOptions {
  readonly settings?: HubSettings;
  readonly signal?: AbortSignal;
  /** Called as bytes arrive. */
  readonly onProgress?: (progress: { file: string; received: number; total: number }) => void;
  /** Milliseconds that the hub may take to begin an answer. Default 15,000. */
  readonly timeout?: number;
}

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
  const repo = join(settings.cacheFolder, `models--${name.replace('/', '--')}`);
  const cached = cachedSnapshot(repo, revision);
  const at = (snapshot: string): string => (file ? join(snapshot, file) : snapshot);
  if (settings.offline) {
    if (cached && existsSync(at(cached))) return at(cached);
    throw new EspalierError('not_found', `${reference} is not in the cache (${settings.cacheFolder}), and HF_HUB_OFFLINE forbids asking the hub`);
  }
  try {
    return at(await fetchSnapshot(name, file, revision, repo, settings, options));
  } catch (error) {
    const failure = hubError(error, reference, settings, options.signal);
    if (failure.code === 'network' && cached && isWhole(cached) && existsSync(at(cached))) return at(cached);
    throw failure;
  }
}

/** The folder that a revision of a cached model lies in, by `refs/<revision>` or as a commit. */
function cachedSnapshot(repo: string, revision: string): string | undefined {
  try {
    const reference = join(repo, 'refs', revision);
    const commit = existsSync(reference) ? readFileSync(reference, 'utf8').trim() : revision;
    const folder = join(repo, 'snapshots', commit);
    return /^[\w.-]+$/.test(commit) && existsSync(folder) ? folder : undefined;
  } catch {
    return undefined;
  }
}

/** A snapshot that was interrupted lacks its weights, which come last. */
function isWhole(folder: string): boolean {
  const files = readdirSync(folder);
  return files.some((f) => f.endsWith('.gguf')) || (files.includes('config.json') && files.some((f) => f.endsWith('.safetensors')));
}

async function fetchSnapshot(name: string, file: string | undefined, revision: string, repo: string, settings: HubSettings, options: HubOptions): Promise<string> {
  const { downloadFile, listFiles, modelInfo } = await import('@huggingface/hub'); // a hundred milliseconds that local files need not pay
  const params = { hubUrl: settings.endpoint, fetch: hubFetch(settings, options) };
  const { sha } = await modelInfo({ name, revision, additionalFields: ['sha'], ...params });
  if (!/^[\w-]{4,64}$/.test(sha)) throw new EspalierError('network', `${settings.endpoint} gave no commit for ${name}`);
  const listed = new Map<string, Listed>();
  for await (const entry of listFiles({ repo: name, revision: sha, recursive: false, ...params })) {
    if (entry.type === 'file' && /^[\w][\w. -]*$/.test(entry.path)) listed.set(entry.path, { size: entry.lfs?.size ?? entry.size, sha256: entry.lfs?.oid, etag: entry.lfs?.oid ?? entry.oid ?? '' });
  }
  const snapshot = join(repo, 'snapshots', sha);
  for (const path of wanted([...listed.keys()], file, name)) {
    throwIfAborted(options.signal);
    const target = join(snapshot, path);
    if (existsSync(target)) continue;
    const expected = listed.get(path)!;
    const blobPath = join(repo, 'blobs', /^[0-9a-f]{16,128}$/i.test(expected.etag) ? expected.etag : `${sha}-${path}`);
    if (!existsSync(blobPath)) {
      const blob = await downloadFile({ repo: name, path, revision: sha, xet: false, ...params });
      if (!blob) throw new EspalierError('network', `${settings.endpoint} lists ${path} of ${name} but does not give it`);
      await store(blob, blobPath, path, expected, options);
    }
    link(blobPath, target);
  }
  if (sha !== revision) writeFileAtomically(join(repo, 'refs', revision), sha);
  return snapshot;
}

interface Listed {
  readonly size: number;
  readonly sha256: string | undefined;
  readonly etag: string;
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

async function store(blob: Blob, path: string, name: string, expected: Listed, options: HubOptions): Promise<void> {
  const temporary = `${path}.${randomBytes(4).toString('hex')}.incomplete`;
  try {
    mkdirSync(dirname(path), { recursive: true });
    const file = await open(temporary, 'wx');
    const hash = createHash('sha256');
    let received = 0;
    try {
      for await (const chunk of blob.stream() as unknown as AsyncIterable<Uint8Array>) {
        throwIfAborted(options.signal);
        received += chunk.length;
        if (received > expected.size) break;
        hash.update(chunk);
        await file.writeFile(chunk);
        options.onProgress?.({ file: name, received, total: expected.size });
      }
      await file.sync();
    } finally {
      await file.close();
    }
    if (received !== expected.size) throw new EspalierError('network', `${name} came with ${received > expected.size ? 'more than ' : ''}${Math.min(received, expected.size)} of ${expected.size} bytes`, { fix: 'try again' });
    if (expected.sha256 !== undefined && hash.digest('hex') !== expected.sha256) throw new EspalierError('network', `${name} came with another SHA-256 than the hub lists`, { fix: 'try again' });
    await rename(temporary, path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    throw code === 'ENOSPC' || code === 'EACCES' || code === 'EROFS' ? fileError(error, 'writing', path) : error;
  } finally {
    rmSync(temporary, { force: true });
  }
}

/** Snapshots hold relative links to blobs, as Python's cache does; where links are forbidden, copies. */
function link(blob: string, target: string): void {
  mkdirSync(dirname(target), { recursive: true });
  try {
    symlinkSync(relative(dirname(target), blob), target);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return;
    copyFileSync(blob, target);
  }
}

/** `fetch` with the token (sent to the endpoint alone), the caller's signal, and a limit on the wait for an answer. */
function hubFetch(settings: HubSettings, options: HubOptions): typeof fetch {
  return async (input, init) => {
    const url = new URL(input instanceof Request ? input.url : String(input));
    const headers = new Headers(init?.headers);
    if (settings.token && url.origin === new URL(settings.endpoint).origin) headers.set('Authorization', `Bearer ${settings.token}`);
    const slow = new AbortController();
    const timer = setTimeout(() => slow.abort(new Error(`no answer in ${options.timeout ?? 15_000} ms`)), options.timeout ?? 15_000);
    try {
      return await fetch(input, { ...init, headers, signal: AbortSignal.any([slow.signal, ...(options.signal ? [options.signal] : [])]) });
    } finally {
      clearTimeout(timer); // the body may take as long as it needs
    }
  };
}

function hubError(error: unknown, reference: string, settings: HubSettings, signal: AbortSignal | undefined): EspalierError {
  if (isEspalierError(error)) return error as EspalierError;
  if (signal?.aborted) return new EspalierError('aborted', 'the download was aborted', { cause: error });
  const status = (error as { statusCode?: number }).statusCode;
  if (status === 401 || status === 403 || status === 404) {
    return new EspalierError('not_found', `${reference} is no file or folder here, and ${settings.endpoint} has no such model${settings.token ? ' for this HF_TOKEN' : ''} (status ${status})`, {
      fix: 'check the spelling; a private or gated model needs HF_TOKEN',
      cause: error,
    });
  }
  const cause = (error as Error).cause;
  const why = cause instanceof Error && cause.message ? cause.message : ((error as Error).message ?? String(error));
  return new EspalierError('network', `${reference} is no file or folder here, and asking ${settings.endpoint} for it failed: ${why.split('\n')[0].slice(0, 200)}`, { cause: error });
}
