import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { EspalierError } from '@espalier/spec';
import { cardConfigs, chooseDataFiles, type CardConfig, type DatasetSelection } from './dataset-files';
import { writeSmallFile } from './files';
import { hubSettings } from './settings';
import { cachedSnapshot, fetchHubFiles, hubError, hubRepoFolder, listHubRepo, type HubOptions, type HubRepo } from './snapshot';

const withScheme = /^hf:\/\/datasets\/([\w.-]{1,96}\/[\w.-]{1,96})(?:@(refs\/(?:convert|pr)\/[\w.-]{1,100}|[\w.-]{1,200}))?(?:\/(.{1,1000}))?$/;
const plain = /^([A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9][\w.-]{0,95})(?:@([\w.-]{1,200}))?$/;

/** A dataset on the hub, by what a user writes. */
export interface HubDatasetRef {
  name: string;
  revision: string;
  /** Behind the name: a file, a folder, a pattern, or `config/split`. */
  path: string | undefined;
}

/** `hf://datasets/owner/name[@revision][/path or config/split]`, or `owner/name[@revision]`; null for anything else. */
export function parseHubDataset(reference: string): HubDatasetRef | null {
  const match = withScheme.exec(reference) ?? plain.exec(reference);
  if (!match) return null;
  return { name: match[1], revision: match[2] ?? 'main', path: match[3]?.replace(/\/+$/, '') || undefined };
}

/** Files of a hub dataset, in the cache. */
export interface HubDatasetFiles {
  name: string;
  commit: string;
  files: string[];
}

interface Known {
  files: string[];
  configs: CardConfig[];
}

/**
 * Fetches the files of a split of a hub dataset into the cache that `huggingface_hub` uses; what is there is not fetched again. `HF_ENDPOINT`, `HF_TOKEN`,
 * `HF_HOME`, `HF_HUB_CACHE` and `HF_HUB_OFFLINE` are obeyed.
 *
 * @throws EspalierError `not_found`, `unsupported`, `network`, `no_space`, `aborted`
 * @example
 * const { files } = await fetchHubDataset('hf://datasets/openai/gsm8k/main/train');
 */
export async function fetchHubDataset(reference: string, selection: Omit<DatasetSelection, 'path'> = {}, options: HubOptions = {}): Promise<HubDatasetFiles> {
  const parsed = parseHubDataset(reference);
  if (!parsed) throw new EspalierError('not_found', `${reference} is no dataset of the hub`, { fix: 'they are written hf://datasets/owner/name, with @revision and /config/split or /file if need be' });
  const settings = options.settings ?? hubSettings();
  const repo: HubRepo = { type: 'dataset', name: parsed.name, revision: parsed.revision };
  const wanted = { ...selection, ...(parsed.path === undefined ? {} : { path: parsed.path }) };
  const fromCache = (): HubDatasetFiles | undefined => {
    const cached = cachedSnapshot(repo, settings);
    const known = cached && recall(repo, cached.commit, settings.cacheFolder);
    if (!cached || !known) return undefined;
    const files = chooseDataFiles(parsed.name, known.files, known.configs, wanted).map((path) => join(cached.folder, path));
    return files.every((file) => existsSync(file)) ? { name: parsed.name, commit: cached.commit, files } : undefined;
  };
  if (settings.offline) {
    const cached = fromCache();
    if (cached) return cached;
    throw new EspalierError('not_found', `${reference} is not in the cache (${settings.cacheFolder}), and HF_HUB_OFFLINE forbids asking the hub`);
  }
  try {
    const listing = await listHubRepo(repo, { ...options, settings }, true);
    const known: Known = { files: [...listing.files.keys()], configs: cardConfigs(listing.cardData) };
    const paths = chooseDataFiles(parsed.name, known.files, known.configs, wanted);
    const snapshot = await fetchHubFiles(listing, paths, { ...options, settings });
    writeSmallFile(knownPath(repo, listing.commit, settings.cacheFolder), JSON.stringify(known));
    return { name: parsed.name, commit: listing.commit, files: paths.map((path) => join(snapshot, path)) };
  } catch (error) {
    const failure = hubError(error, `${reference} is no file here, and`, 'dataset', settings, options.signal);
    const cached = failure.code === 'network' ? fromCache() : undefined;
    if (cached) return cached;
    throw failure;
  }
}

/** What a commit holds, kept beside the snapshots: without the hub there is nobody to ask which files are which split. */
const knownPath = (repo: HubRepo, commit: string, cacheFolder: string): string => join(hubRepoFolder(repo, { cacheFolder }), '.espalier', `${commit}.json`);

function recall(repo: HubRepo, commit: string, cacheFolder: string): Known | undefined {
  try {
    return JSON.parse(readFileSync(knownPath(repo, commit, cacheFolder), 'utf8')) as Known;
  } catch {
    return undefined;
  }
}
