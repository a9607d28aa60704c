import { defineReward, EspalierError, isEspalierError, throwIfAborted, type Reward, type RewardContext, type RewardFunction, type RewardSample } from '@espalier/spec';
import { batchesOf } from '../composing/resilient-reward';
import { withRetries, type RetryOptions } from '@espalier/spec/retry';
import { inParallel } from '../composing/in-parallel';
import { postJson } from './http-call';

export interface RemoteRewardOptions extends RetryOptions {
  /** Where samples are posted to, such as `http://127.0.0.1:8080/score`. */
  url: string;
  /** The environment variable that holds the bearer token. Default: none is sent. */
  apiKeyEnv?: string;
  /** Samples a request, groups whole. Default 64. */
  batchSize?: number;
  /** Requests under way at once. Default 4. */
  concurrency?: number;
  /** Longest answer, from request to end. Default 60 000 ms. */
  timeoutMs?: number;
  /** What becomes of samples whose last try failed: `throw` ends the run; `null` leaves them out, counted under `<name>/failed`. Default `throw`. */
  onFailure?: 'throw' | 'null';
  /** Columns of the row that are sent. Default: all. */
  columns?: readonly string[];
  name?: string;
}

/**
 * A reward that a server gives, in whatever language: samples are posted as JSON, and rewards come back in their order (`openapi.json` of this package says how).
 * A reward is a number, `null` (not applicable: left out, never 0), or `{ total, components?, note? }`. What may go better the next time is tried again with growing,
 * random waits; an answer that breaks the contract (another number of rewards, NaN) is refused at once, with the sample. The key comes from the environment alone.
 *
 * @throws EspalierError `bad_config`, `usage` when the environment variable is not set; when scoring `network`, `bad_data`, `bad_config`, `aborted`
 *
 * @example
 * remoteReward({ url: 'http://127.0.0.1:8080/score', apiKeyEnv: 'JUDGE_KEY', timeoutMs: 20_000 });
 */
export function remoteReward(options: RemoteRewardOptions): RewardFunction {
  const { apiKeyEnv, batchSize = 64, concurrency = 4, timeoutMs = 60_000, onFailure = 'throw', columns, ...retry } = options;
  const url = readUrl(options.url);
  for (const [field, value] of Object.entries({ batchSize, concurrency, timeoutMs })) if (!(value >= 1)) throw new EspalierError('bad_config', `\`${field}\` is ${String(value)}`, { fix: 'a number from 1' });
  if (!['throw', 'null'].includes(onFailure)) throw new EspalierError('bad_config', `\`onFailure\` is ${JSON.stringify(onFailure)}`, { fix: 'throw or null' });
  const key = apiKeyEnv === undefined ? null : (process.env[apiKeyEnv] ?? '').trim();
  if (key === '') throw new EspalierError('usage', `the environment variable ${apiKeyEnv} is not set`, { fix: `it holds the key for ${url.origin}` });
  const name = options.name ?? 'remote';
  const where = `${url.origin}${url.pathname}`;
  return defineReward({
    name,
    async score(samples, context) {
      throwIfAborted(context.signal);
      const results = new Array<Reward | null>(samples.length).fill(null);
      await inParallel(batchesOf(samples, batchSize), concurrency, async (batch) => {
        const asked = batch.map((i) => samples[i]);
        const ask = async () => readAnswer(await postJson(url.href, requestOf(asked, context, columns), { key, timeoutMs, signal: context.signal }), asked, where);
        try {
          const rewards = await withRetries(`asking ${where} for rewards`, ask, { maxRetries: 4, ...retry, signal: context.signal });
          batch.forEach((i, k) => (results[i] = rewards[k]));
        } catch (error) {
          if (onFailure === 'throw' || !(isEspalierError(error) && error.code === 'network')) throw isEspalierError(error) && error.code === 'bad_config' ? new EspalierError('bad_config', `${where}: ${error.message}`, { cause: error }) : error;
          context.log?.(`${name}/failed`, batch.length);
        }
      });
      return results;
    },
  });
}

function readUrl(text: string): URL {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new EspalierError('bad_config', `\`url\` is ${JSON.stringify(text)}`, { fix: 'an address such as http://127.0.0.1:8080/score' });
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw new EspalierError('bad_config', `\`url\` begins with ${url.protocol}`, { fix: 'http or https' });
  if (url.username || url.password) throw new EspalierError('bad_config', '`url` holds a name or password', { fix: 'put the key into an environment variable and name that in `apiKeyEnv`' });
  return url;
}

/** The body of a request: `ScoreRequest` of openapi.json. */
export function requestOf(samples: readonly RewardSample[], { step, evaluation }: RewardContext, columns?: readonly string[]): Record<string, unknown> {
  return {
    version: 1,
    step,
    evaluation: evaluation ?? false,
    samples: samples.map(({ prompt, completion, completionTokens, finishReason, group, row }) => ({
      prompt, completion, completion_tokens: Array.from(completionTokens), finish_reason: finishReason, group,
      row: columns ? Object.fromEntries(columns.filter((column) => Object.hasOwn(row, column)).map((column) => [column, row[column]])) : row,
    })),
  };
}

/** Rewards of an answer: `ScoreResponse` of openapi.json. */
function readAnswer(answer: unknown, samples: readonly RewardSample[], where: string): (Reward | null)[] {
  const wrong = (what: string, fix: string) => new EspalierError('bad_data', `${where} ${what}`, { fix });
  const rewards = typeof answer === 'object' && answer !== null ? (answer as { rewards?: unknown }).rewards : undefined;
  if (!Array.isArray(rewards)) throw wrong(`answered ${JSON.stringify(answer)?.slice(0, 80)}`, 'an object with `rewards`, a list');
  if (rewards.length !== samples.length) throw wrong(`gave ${rewards.length} rewards for ${samples.length} samples`, 'one a sample, null where it does not apply');
  return rewards.map((reward: unknown, i) => {
    const of = `for sample ${i} (completion ${JSON.stringify(samples[i].completion.slice(0, 60))})`;
    if (reward === null || (typeof reward === 'number' && Number.isFinite(reward))) return reward;
    const { total, components = {}, note } = (typeof reward === 'object' && reward !== null ? reward : {}) as { total?: unknown; components?: unknown; note?: unknown };
    if (typeof total !== 'number' || !Number.isFinite(total)) throw wrong(`gave ${JSON.stringify(reward)?.slice(0, 80)} ${of}`, 'a finite number, null, or an object with `total`');
    const parts = typeof components === 'object' && components !== null && !Array.isArray(components) ? Object.entries(components as Record<string, unknown>) : null;
    if (!parts || parts.some(([, value]) => typeof value !== 'number' || !Number.isFinite(value))) throw wrong(`gave \`components\` ${JSON.stringify(components).slice(0, 80)} ${of}`, 'finite numbers by name');
    if (note !== undefined && typeof note !== 'string') throw wrong(`gave a \`note\` ${of} that is no text`, 'text, or none');
    return { total, ...(parts.length > 0 ? { components: Object.fromEntries(parts) as Record<string, number> } : {}), ...(note === undefined ? {} : { note }) };
  });
}
