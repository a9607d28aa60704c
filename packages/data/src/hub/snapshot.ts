import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { EspalierError, isEspalierError, throwIfAborted } from '@espalier/spec';
import { hubFetch } from './hub-fetch';
import { linkBlob, storeBlob, writeSmallFile, type HubFile } from './files';
import { hubSettings, type HubSettings } from './settings';

export interface HubOptions {
  readonly settings?: HubSettings;
  readonly signal?: AbortSignal;
  /** Called as bytes arrive. */
  readonly onProgress?: (progress: { file: string; received: number; total: number }) => void;
  /** Milliseconds that the hub may take to begin an answer. Default 15,000. */
  readonly timeout?: number;
  /** Milliseconds without a byte after which an answer is given up. Default: 60,000. */
  readonly idleTimeout?: number;
}

export interface HubRepo {
  readonly type: 'model' | 'dataset';
  /** `owner/name` */
  readonly name: string;
  readonly revision: string;
}

/** What a repository holds at one commit. */
export interface HubListing {
  readonly repo: HubRepo;
  readonly commit: string;
  readonly files: ReadonlyMap<string, HubFile>;
  /** Of a dataset: the metadata of its card. */
  readonly cardData: unknown;
}

/** The folder of a repository in the cache that `huggingface_hub` uses. */
export const hubRepoFolder = ({ type, name }: HubRepo, settings: Pick<HubSettings, 'cacheFolder'>): string => join(settings.cacheFolder, `${type}s--${name.replaceAll('/', '--')}`);

/** The folder that a cached revision lies in, by `refs/<revision>` or as a commit. */
export function cachedSnapshot(repo: HubRepo, settings: HubSettings): { commit: string; folder: string } | undefined {
  try {
    const folder = hubRepoFolder(repo, settings);
    const reference = join(folder, 'refs', repo.revision);
    const commit = existsSync(reference) ? readFileSync(reference, 'utf8').trim() : repo.revision;
    const snapshot = join(folder, 'snapshots', commit);
    return /^[\w.-]+$/.test(commit) && existsSync(snapshot) ? { commit, folder: snapshot } : undefined;
  } catch {
    return undefined;
  }
}

const safePath = (path: string): boolean => path.split('/').every((part) => part !== '' && part !== '.' && part !== '..') && !/[\\:]|\p{Cc}/u.test(path);

/**
 * What a repository on the hub holds. Paths that would lead out of a folder are left out.
 * @param recursive folders too; default: the files at the top alone
 * @throws what {@link hubError} makes an EspalierError of
 */
export async function listHubRepo(repo: HubRepo, options: HubOptions = {}, recursive = false): Promise<HubListing> {
  const settings = options.settings ?? hubSettings();
  const { datasetInfo, listFiles, modelInfo } = await import('@huggingface/hub'); // a hundred milliseconds that local files need not pay
  const params = { hubUrl: settings.endpoint, fetch: hubFetch(settings, options) };
  const info = repo.type === 'model' ? await modelInfo({ ...params, name: repo.name, revision: repo.revision, additionalFields: ['sha'] }) : await datasetInfo({ ...params, name: repo.name, revision: repo.revision, additionalFields: ['sha', 'cardData'] });
  const commit = (info as { sha?: unknown }).sha;
  if (typeof commit !== 'string' || !/^[\w-]{4,64}$/.test(commit)) throw new EspalierError('network', `${settings.endpoint} gave no commit for ${repo.name}`);
  const files = new Map<string, HubFile>();
  for await (const entry of listFiles({ repo: { type: repo.type, name: repo.name }, revision: commit, recursive, ...params })) {
    if (entry.type === 'file' && safePath(entry.path)) files.set(entry.path, { path: entry.path, size: entry.lfs?.size ?? entry.size, sha256: entry.lfs?.oid, etag: entry.lfs?.oid ?? entry.oid ?? '' });
  }
  return { repo, commit, files, cardData: (info as { cardData?: unknown }).cardData };
}

/**
 * Fetches files into the cache, where they are not there yet, and returns the folder of the snapshot. Each is checked against the size, and where the
 * hub has one the SHA-256, that it announces.
 */
export async function fetchHubFiles(listing: HubListing, paths: readonly string[], options: HubOptions = {}): Promise<string> {
  const settings = options.settings ?? hubSettings();
  const { repo, commit, files } = listing;
  const { downloadFile } = await import('@huggingface/hub');
  const folder = hubRepoFolder(repo, settings);
  const snapshot = join(folder, 'snapshots', commit);
  for (const path of paths) {
    throwIfAborted(options.signal);
    const target = join(snapshot, path);
    if (existsSync(target)) continue;
    const expected = files.get(path)!;
    const blobPath = join(folder, 'blobs', /^[0-9a-f]{16,128}$/i.test(expected.etag) ? expected.etag : `${commit}-${path.replaceAll('/', '--')}`);
    if (!existsSync(blobPath)) {
      const blob = await downloadFile({ repo: { type: repo.type, name: repo.name }, path, revision: commit, xet: false, hubUrl: settings.endpoint, fetch: hubFetch(settings, options) });
      if (!blob) throw new EspalierError('network', `${settings.endpoint} lists ${path} of ${repo.name} but does not give it`);
      await storeBlob(blob, blobPath, expected, options);
    }
    linkBlob(blobPath, target);
  }
  if (commit !== repo.revision) writeSmallFile(join(folder, 'refs', repo.revision), commit);
  return snapshot;
}

/**
 * What went wrong with the hub, as an EspalierError: `not_found`, `aborted` or `network`.
 * @param failing what was asked for, as the beginning of a sentence: "x/y is no file or folder here, and"
 */
export function hubError(error: unknown, failing: string, type: HubRepo['type'], settings: HubSettings, signal: AbortSignal | undefined): EspalierError {
  if (isEspalierError(error)) return error as EspalierError;
  if (signal?.aborted) return new EspalierError('aborted', 'the transfer was aborted', { cause: error });
  const status = (error as { statusCode?: number }).statusCode;
  if (status === 401 || status === 403 || status === 404) {
    return new EspalierError('not_found', `${failing} ${settings.endpoint} has no such ${type}${settings.token ? ' for this HF_TOKEN' : ''} (status ${status})`, {
      fix: `check the spelling; a private or gated ${type} needs HF_TOKEN`,
      cause: error,
    });
  }
  const cause = (error as Error).cause;
  const why = cause instanceof Error && cause.message ? cause.message : ((error as Error).message ?? String(error));
  return new EspalierError('network', `${failing} asking ${settings.endpoint} for it failed: ${why.split('\n')[0].slice(0, 200)}`, { cause: error });
}
