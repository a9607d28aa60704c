import { EspalierError } from '@espalier/spec';
import { withRetries, type RetryOptions } from '@espalier/spec/retry';
import { promptLogpsOf, samplesOf, type SampleAnswer } from './completion-answer';
import { HttpClient, HttpRefusal, unreachable } from './http-client';

/** What a server was found to be able to do. */
export interface HttpCapabilities {
  /** Takes prompts as token ids, and gives the ids of what it sampled: text is never tokenised again. */
  tokenIds: boolean;
  /** Gives a log-prob for each sampled token. */
  logps: boolean;
  sync: 'adapter' | 'none';
  /** Takes prompts as token ids. Otherwise they are decoded, which needs a tokenizer. */
  promptIds: boolean;
  /** Under which distribution `logps` are: at the temperature (`processed`), at temperature 1 whatever was asked for (`raw`), or not known. */
  logpsAt: 'processed' | 'raw' | 'unknown';
  /** How the log-probs of given tokens can be had. */
  scoring: 'prompt_logprobs' | 'echo' | 'none';
  /** Several samples a request. */
  multiple: boolean;
  /** Streams with everything that whole answers have. */
  streaming: boolean;
  /** Takes vLLM's sampling options (`top_k`, `min_p`, `repetition_penalty`, `stop_token_ids` …). */
  extended: boolean;
  /** Prompt and completion together, where the server says it. */
  maxPositions: number | null;
  /** What stands behind the address, as far as it says: `vllm`, `espalier`, `llamacpp` … */
  server: string;
}

interface Probe {
  client: HttpClient;
  model: string;
  retry: RetryOptions;
  signal?: AbortSignal;
}

/** The answer, or null where the server refuses or gives something else. */
async function attempt<T>({ client, retry, signal }: Probe, path: string, body: object, read: (events: unknown[]) => T | null): Promise<T | null> {
  try {
    return await withRetries(`asking ${client.root} what it can do`, async () => read(await client.call('POST', path, body, signal)), { ...retry, maxRetries: Math.min(3, retry.maxRetries ?? 3), fix: unreachable, signal });
  } catch (error) {
    if (error instanceof HttpRefusal && error.status !== 401 && error.status !== 403) return null;
    throw error instanceof HttpRefusal ? new EspalierError('network', `${client.root} refuses: ${error.message}`, { fix: 'set the environment variable that `apiKeyEnv` names to a valid key' }) : error;
  }
}

/** A server that fails at a request it does not know is taken as one that cannot do it. */
async function tolerant<T>(...args: Parameters<typeof attempt<T>>): Promise<T | null> {
  try {
    return await attempt<T>(...args);
  } catch (error) {
    if (error instanceof EspalierError && error.code === 'network' && !/refuses/.test(error.message)) return null;
    throw error;
  }
}

/** Sampling that changes nothing, said aloud: not every server's defaults are neutral. */
export const neutral = { top_k: -1, min_p: 0, repetition_penalty: 1 };

/**
 * Finds out what a server can do, by a few requests of one token.
 * @throws EspalierError `network` when it cannot be reached or refuses the key, `not_found` when it has no such model
 */
export async function probeCapabilities(probe: Probe, promptText = 'The'): Promise<HttpCapabilities> {
  const { client, model, signal } = probe;
  const [listed] = (await withRetries(`asking ${client.root} for its models`, () => client.call('GET', '/v1/models', undefined, signal), { ...probe.retry, fix: unreachable, signal }).catch((error: unknown) => {
    if (!(error instanceof HttpRefusal)) throw error;
    if (error.status === 401 || error.status === 403) throw new EspalierError('network', `${client.root} refuses: ${error.message}`, { fix: 'name the environment variable that holds a valid key in `apiKeyEnv`' });
    return [null];
  })) as [{ data?: { id?: string; owned_by?: string; max_model_len?: number }[] } | null];
  const models = Array.isArray(listed?.data) ? listed.data : null;
  const entry = models?.find(({ id }) => id === model);
  if (models && !entry && models.length > 0) throw new EspalierError('not_found', `${client.root} has no model "${model}"`, { fix: `it has ${models.slice(0, 8).map(({ id }) => id).join(', ')}` }); // prettier-ignore

  const base = { model, max_tokens: 1, temperature: 1, top_p: 1, seed: 1 };
  const ids = [5, 6];
  const whole = (body: object, n: number) => tolerant<SampleAnswer[]>(probe, '/v1/completions', body, (events) => samplesOf(events, n));
  const promptIds = (await whole({ ...base, prompt: ids }, 1)) !== null;
  const prompt = promptIds ? ids : promptText;
  const extended = (await whole({ ...base, prompt, ...neutral }, 1)) !== null;
  const [sample] = (await whole({ ...base, prompt, logprobs: 1, return_token_ids: true }, 1)) ?? (await whole({ ...base, prompt, logprobs: 1 }, 1)) ?? [];
  const multiple = (await whole({ ...base, prompt, n: 2 }, 2)) !== null;
  const rich = sample?.tokens ? { logprobs: 1, return_token_ids: true } : sample?.logps ? { logprobs: 1 } : {};
  const [streamed] = (await whole({ ...base, prompt, ...rich, stream: true }, 1)) ?? [];
  const streaming = streamed !== undefined && (streamed.tokens === null) === !sample?.tokens && (streamed.logps === null) === !sample?.logps;

  const score = (body: object) => tolerant(probe, '/v1/completions', { ...base, prompt: ids, ...body }, ([event]) => promptLogpsOf(event, Int32Array.from(ids)));
  const scoring = !promptIds ? 'none' : (await score({ prompt_logprobs: 0 })) ? 'prompt_logprobs' : (await score({ echo: true, logprobs: 1 })) ? 'echo' : 'none';

  const adapters = await client.call('POST', '/v1/load_lora_adapter', {}, signal).then(
    () => true,
    (error: unknown) => error instanceof HttpRefusal && (error.status === 400 || error.status === 422),
  );
  const tokenIds = promptIds && sample !== undefined && sample.tokens !== null;
  const logps = sample !== undefined && sample.logps !== null;
  return {
    tokenIds,
    logps,
    sync: adapters ? 'adapter' : 'none',
    promptIds,
    logpsAt: tokenIds && logps && scoring !== 'none' ? await logpsAt(probe, scoring, ids) : 'unknown',
    scoring,
    multiple,
    streaming,
    extended,
    maxPositions: typeof entry?.max_model_len === 'number' ? entry.max_model_len : null,
    server: entry?.owned_by ?? 'unknown',
  };
}

/**
 * vLLM's default gives log-probs before the temperature; importance ratios against the sampler are then wrong. One token is sampled at temperature 4 and
 * scored at 1: where both say the same of it, the temperature is not in.
 */
async function logpsAt(probe: Probe, scoring: 'prompt_logprobs' | 'echo', ids: readonly number[]): Promise<HttpCapabilities['logpsAt']> {
  let raw = 0;
  let compared = 0;
  for (let seed = 1; seed <= 3; seed++) {
    const sampled = await tolerant(probe, '/v1/completions', { model: probe.model, prompt: ids, max_tokens: 1, temperature: 4, top_p: 1, seed, logprobs: 1, return_token_ids: true }, (events) => samplesOf(events, 1)[0]);
    if (!sampled?.tokens?.length || !sampled.logps) continue;
    const sequence = Int32Array.from([...ids, sampled.tokens[0]]);
    const scored = await tolerant(probe, '/v1/completions', { model: probe.model, prompt: [...sequence], max_tokens: 1, temperature: 1, ...(scoring === 'echo' ? { echo: true, logprobs: 1 } : { prompt_logprobs: 0 }) }, ([event]) => promptLogpsOf(event, sequence));
    if (!scored) continue;
    compared++;
    if (Math.abs(scored.at(-1)! - sampled.logps[0]) < 1e-3 * Math.max(1, Math.abs(sampled.logps[0]))) raw++;
  }
  return compared === 0 ? 'unknown' : raw === compared ? 'raw' : 'processed';
}

/** In words, what a trainer would miss; empty when it would miss nothing. */
export function missingForTraining(found: HttpCapabilities, sampling: { temperature?: number } = {}): string[] {
  const missing: string[] = [];
  if (!found.promptIds) missing.push('it does not take prompts as token ids');
  if (!found.tokenIds) missing.push('it does not give the ids of the tokens that it sampled (vLLM from 0.10.2 does with `return_token_ids`)');
  if (!found.logps) missing.push('it does not give the log-probs of the tokens that it sampled');
  const temperature = sampling.temperature ?? 1;
  if (found.logps && temperature !== 1 && found.logpsAt !== 'processed') missing.push(`its log-probs are ${found.logpsAt === 'raw' ? 'those' : 'perhaps those'} of temperature 1, not of ${temperature} (start vLLM with --logprobs-mode processed_logprobs, or sample at 1)`);
  return missing;
}
