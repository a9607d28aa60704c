import { EspalierError } from '@espalier/spec';

/** What one server, and one request to it, may take. */
export interface ServerLimits {
  /** Of a request's body. Default 4 MiB. */
  maxBodyBytes: number;
  /** Samples that run or wait, over all models; a request that would exceed it is answered with 429. Default 1024. */
  maxQueue: number;
  /** Samples of one request: its prompts times `n`. Default 128. */
  maxSamplesPerRequest: number;
  /** New tokens of one sample. Default: what the model's positions leave. */
  maxTokens: number;
  /** New tokens of a chat completion that names no number. Default 1024. */
  defaultChatTokens: number;
  /** A reader that takes nothing for so long, though there is something, is cut off. Default 30 000 ms. */
  stallTimeoutMs: number;
}

const defaults: ServerLimits = { maxBodyBytes: 4 * 2 ** 20, maxQueue: 1024, maxSamplesPerRequest: 128, maxTokens: Infinity, defaultChatTokens: 1024, stallTimeoutMs: 30_000 };

/** @throws EspalierError `bad_config` for a limit that is no positive integer */
export function resolveLimits(given: Partial<ServerLimits> = {}): ServerLimits {
  const limits = { ...defaults, ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) };
  for (const [name, value] of Object.entries(limits)) {
    if (!(name in defaults)) throw new EspalierError('bad_config', `there is no limit \`${name}\``, { fix: `the limits are ${Object.keys(defaults).join(', ')}` });
    if (!(Number.isSafeInteger(value) && value >= 1) && !(name === 'maxTokens' && value === Infinity)) throw new EspalierError('bad_config', `the limit \`${name}\` is ${value}`, { fix: 'a positive integer would do' });
  }
  return limits;
}
