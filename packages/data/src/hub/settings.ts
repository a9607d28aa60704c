import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where and how the hub is asked, by the variables that `huggingface_hub` obeys. */
export interface HubSettings {
  /** `HF_ENDPOINT`, default https://huggingface.co */
  readonly endpoint: string;
  /** `HF_TOKEN`, else the file that `hf auth login` writes. */
  readonly token: string | undefined;
  /** `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE`: nothing but the cache is asked. */
  readonly offline: boolean;
  /** `HF_HUB_CACHE`, else `$HF_HOME/hub`, else `$XDG_CACHE_HOME/huggingface/hub`, else ~/.cache/huggingface/hub */
  readonly cacheFolder: string;
}

/** Reads {@link HubSettings} from an environment. */
export function hubSettings(env: NodeJS.ProcessEnv = process.env): HubSettings {
  const home = env.HF_HOME || join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface');
  const truthy = (value: string | undefined): boolean => /^(1|on|yes|true)$/i.test(value ?? '');
  return {
    endpoint: (env.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, ''),
    token: env.HF_TOKEN?.trim() || env.HUGGING_FACE_HUB_TOKEN?.trim() || tokenFile(env.HF_TOKEN_PATH || join(home, 'token')),
    offline: truthy(env.HF_HUB_OFFLINE) || truthy(env.TRANSFORMERS_OFFLINE),
    cacheFolder: env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || join(home, 'hub'),
  };
}

function tokenFile(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim() || undefined;
  } catch {
    return undefined; // not logged in
  }
}
