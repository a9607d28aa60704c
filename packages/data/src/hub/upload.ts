import { existsSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { basename, join, relative, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { EspalierError, throwIfAborted } from '@espalier/spec';
import { hubFetch } from './hub-fetch';
import { hubSettings } from './settings';
import { hubError, type HubOptions } from './snapshot';

export interface UploadOptions extends HubOptions {
  /** What the repository holds. Default `model`. */
  readonly type?: 'model' | 'dataset';
  /** Whether a repository that has to be made is private. One that exists stays as it is. Default true. */
  readonly private?: boolean;
  /** The branch that is committed to. Default `main`. */
  readonly branch?: string;
  /** The commit's title. Default: "Upload NAME". */
  readonly message?: string;
  /** Which files are sent, by their path in the folder. Default: {@link isForOthers}. */
  readonly include?: (path: string) => boolean;
}

/** What was sent. */
export interface Uploaded {
  /** `owner/name` */
  readonly name: string;
  readonly commit: string;
  /** Where it can be looked at. */
  readonly url: string;
  /** Paths in the repository, in their order. */
  readonly files: readonly string[];
}

const repository = /^[A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9][\w.-]{0,95}$/;
/** What a run keeps to go on with: of no use to those who load the model. */
const ofTheRun = new Set(['optimizer.safetensors', 'trainer_state.json', 'command.json']);

/** Whether a file is one that others want: none whose name, or whose folder's, begins with a point, and nothing that only resuming needs. */
export function isForOthers(path: string): boolean {
  return !path.split('/').some((part) => part.startsWith('.')) && !ofTheRun.has(basename(path));
}

/**
 * Sends a folder to the hub in one commit: a model as Espalier and `transformers` save it, or rows. Large files go to the hub's large-file storage and are not
 * sent again when it has them; files of the repository that the folder lacks stay. The repository is made when it is not there. `HF_ENDPOINT` is obeyed, and the
 * token is `HF_TOKEN`, or what `hf auth login` wrote: it is never an argument.
 *
 * @param folder a folder; a link such as `checkpoints/latest` is followed
 * @param name `owner/name`
 * @throws EspalierError `bad_config` for a name that is none, or without a token; `not_found` without such a folder, or where the token may not write; `bad_data`
 *   for a folder without files; `unsupported` when `HF_HUB_OFFLINE` is set; `network`, `aborted`
 * @example
 * const { url } = await uploadFolder('runs/sums/checkpoints/latest', 'me/smollm2-sums', { private: false });
 */
export async function uploadFolder(folder: string, name: string, options: UploadOptions = {}): Promise<Uploaded> {
  const settings = options.settings ?? hubSettings();
  const type = options.type ?? 'model';
  if (!repository.test(name)) throw new EspalierError('bad_config', `"${name}" is no name of a repository on the hub`, { fix: 'they are written owner/name' });
  if (settings.offline) throw new EspalierError('unsupported', `nothing can be sent to ${name}: HF_HUB_OFFLINE forbids asking the hub`, { fix: 'unset it' });
  if (!settings.token) throw new EspalierError('bad_config', `sending to ${name} needs a token, and the environment has none`, { fix: 'set HF_TOKEN to a token that may write, or run `hf auth login`' });
  const files = filesOf(folder, options.include ?? isForOthers);
  throwIfAborted(options.signal);

  const { commit, createRepo } = await import('@huggingface/hub'); // a hundred milliseconds that others need not pay
  // The token goes with hubFetch, to the endpoint alone; the library would insist on one that begins with hf_.
  const params = { repo: { type, name }, accessToken: '', hubUrl: settings.endpoint, fetch: reporting(hubFetch(settings, options), files, options) };
  try {
    await createRepo({ ...params, private: options.private ?? true }).catch((error: unknown) => {
      if ((error as { statusCode?: number }).statusCode !== 409) throw error; // it is there
    });
    const result = await commit({
      ...params,
      title: options.message ?? `Upload ${basename(realpathSync(folder))}`,
      branch: options.branch ?? 'main',
      operations: files.map(({ path, file }) => ({ operation: 'addOrUpdate' as const, path, content: pathToFileURL(file) })),
      useXet: false,
      ...(options.signal ? { abortSignal: options.signal } : {}),
    });
    if (!result) throw new EspalierError('network', `${settings.endpoint} took the files of ${name} but named no commit`);
    return { name, commit: result.commit.oid, url: `${settings.endpoint}/${type === 'model' ? '' : 'datasets/'}${name}`, files: files.map(({ path }) => path) };
  } catch (error) {
    const status = (error as { statusCode?: number }).statusCode;
    if (status === 401 || status === 403 || status === 404) throw new EspalierError('not_found', `sending ${folder} to ${name} failed: ${settings.endpoint} refuses it (status ${status})`, { fix: 'HF_TOKEN must be a token that may write there', cause: error });
    throw hubError(error, `sending ${folder} to ${name} failed:`, type, settings, options.signal);
  }
}

interface LocalFile {
  /** In the repository. */
  path: string;
  file: string;
  size: number;
}

function filesOf(folder: string, include: (path: string) => boolean): LocalFile[] {
  if (!existsSync(folder) || !statSync(folder).isDirectory()) throw new EspalierError('not_found', `${folder} is no folder`, { fix: "a model's folder, such as runs/sums/checkpoints/latest" });
  const root = realpathSync(folder);
  const found = readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((file) => ({ file, path: relative(root, file).split(sep).join('/'), size: statSync(file).size }))
    .filter(({ path }) => include(path))
    .sort((a, b) => (a.path < b.path ? -1 : 1));
  if (found.length === 0) throw new EspalierError('bad_data', `${folder} has no file to send`);
  return found;
}

/** Tells `onProgress` of large files: when one begins, and when it has arrived. */
function reporting(ask: typeof fetch, files: readonly LocalFile[], { onProgress }: UploadOptions): typeof fetch {
  if (!onProgress) return ask;
  return async (input, init) => {
    const hint = (init as { progressHint?: { path?: string; part?: number; numParts?: number } } | undefined)?.progressHint;
    const file = files.find(({ path }) => path === hint?.path);
    if (!file) return ask(input, init);
    const share = file.size / (hint?.numParts ?? 1);
    onProgress({ file: file.path, received: Math.round(share * (hint?.part ?? 0)), total: file.size });
    const response = await ask(input, init);
    if (response.ok) onProgress({ file: file.path, received: Math.round(share * ((hint?.part ?? 0) + 1)), total: file.size });
    return response;
  };
}
