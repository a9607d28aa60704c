import { EspalierError, throwIfAborted, upToSentence, type Message, type TextModel } from '@espalier/spec';
import { TransientFailure, withRetries, type RetryOptions } from '@espalier/spec/retry';
import { AdaptiveLimit, type AdaptiveLimitOptions } from './adaptive-limit';
import { HttpClient, HttpRefusal, unreachable, type HttpClientOptions } from './http-client';
import { linkedSignal } from './linked-signal';

export interface HttpTextModelOptions extends HttpClientOptions, RetryOptions {
  /** The model's name on the server. */
  model: string;
  /** Requests at once: where to begin, and the bounds. */
  concurrency?: AdaptiveLimitOptions;
  /** `max_tokens` (default) or, for servers that insist on it, `max_completion_tokens`. */
  maxTokensField?: 'max_tokens' | 'max_completion_tokens';
  /** Leave `seed` out, for servers that do not know it. Default false. */
  withoutSeed?: boolean;
  /** Fields that are sent as they are, such as `reasoning_effort`. */
  extraBody?: Readonly<Record<string, unknown>>;
  /** Told what each answer took. */
  onUsage?(usage: { promptTokens: number; completionTokens: number }): void;
  onRetry?(failure: TransientFailure): void;
}

interface ChatAnswer {
  choices?: { message?: { content?: unknown }; finish_reason?: unknown; logprobs?: { content?: { top_logprobs?: { token?: unknown; logprob?: unknown }[] }[] } | null }[];
  usage?: { prompt_tokens?: number; completion_tokens?: number };
}

/**
 * A model behind `/v1/chat/completions`, for judges and critics. A prompt that is plain text is sent as the user's message. `optionLogps` reads the log-probs of
 * the first token of the answer among the twenty likeliest: options are told apart by it (`A`, `B`), with or without a leading space; an option that is not
 * among them has -Infinity. A server that gives no log-probs makes it throw `unsupported`.
 * @throws EspalierError `bad_config`, `usage` when the key is not set
 * @example
 * const judge = httpTextModel({ baseUrl: 'https://api.example.com/v1', model: 'large', apiKeyEnv: 'EXAMPLE_API_KEY' });
 * const [answer] = await judge.complete([[{ role: 'user', content: 'Name a tree.' }]], { maxNewTokens: 20 });
 */
export function httpTextModel(options: HttpTextModelOptions): TextModel {
  const client = new HttpClient(options);
  const limit = new AdaptiveLimit(options.concurrency);
  const maxTokensField = options.maxTokensField ?? 'max_tokens';

  async function ask<T>(what: string, prompt: string | readonly Message[], fields: object, read: (answer: ChatAnswer) => T, signal?: AbortSignal): Promise<T> {
    const messages = typeof prompt === 'string' ? [{ role: 'user', content: prompt }] : prompt;
    const body = { model: options.model, messages, ...fields, ...options.extraBody };
    const attempt = () =>
      limit.run(async () => {
        const [answer] = (await client.call('POST', '/v1/chat/completions', body, signal)) as [ChatAnswer];
        if (!Array.isArray(answer?.choices) || answer.choices.length === 0) throw new TransientFailure('the answer has no choices');
        const value = read(answer);
        const { prompt_tokens: promptTokens = 0, completion_tokens: completionTokens = 0 } = answer.usage ?? {};
        options.onUsage?.({ promptTokens, completionTokens });
        return { value, tokens: completionTokens || 1 };
      }, signal);
    try {
      return await withRetries(what, attempt, { ...options, fix: unreachable, signal, onFailure: (failure) => (failure.overload && limit.overloaded(), options.onRetry?.(failure)) });
    } catch (error) {
      if (!(error instanceof HttpRefusal)) throw error;
      throw new EspalierError(error.status === 404 ? 'not_found' : error.status === 401 || error.status === 403 ? 'network' : 'bad_data', `${what}: ${client.root} refuses: ${error.message}`);
    }
  }

  async function logpsOf(prompt: string | readonly Message[], choices: readonly string[], signal?: AbortSignal): Promise<number[]> {
    const fields = { [maxTokensField]: 1, temperature: 0, logprobs: true, top_logprobs: 20 };
    return ask('scoring options', prompt, fields, (answer) => {
      const top = answer.choices![0].logprobs?.content?.[0]?.top_logprobs;
      if (!Array.isArray(top) || top.length === 0) throw new EspalierError('unsupported', `${client.root} gives no log-probs with its answers`, { fix: 'read the choice from the text of the answer' });
      return choices.map((option) => {
        const matching = top.filter(({ token }) => typeof token === 'string' && token.trim() === option.trim()).map(({ logprob }) => Number(logprob));
        const most = Math.max(...matching);
        return matching.length === 0 ? -Infinity : most + Math.log(matching.reduce((sum, logp) => sum + Math.exp(logp - most), 0));
      });
    }, signal); // prettier-ignore
  }

  return {
    async complete(prompts, { maxNewTokens = 256, temperature = 0, seed = 0, seeds, stop, wholeSentences = false, signal } = {}) {
      throwIfAborted(signal);
      if (seeds && seeds.length !== prompts.length) throw new EspalierError('bad_config', `${seeds.length} seeds were given for ${prompts.length} prompts`, { fix: 'one a prompt' });
      return together(signal, (shared) =>
        prompts.map((prompt, i) =>
          ask(
            `prompt ${i}`,
            prompt,
            { [maxTokensField]: maxNewTokens, temperature, ...(!options.withoutSeed && { seed: seeds?.[i] ?? seed + i }), ...(stop && stop.length > 0 && { stop }) },
            (answer) => {
              const { message, finish_reason: finishReason } = answer.choices![0];
              if (typeof message?.content !== 'string') throw new TransientFailure('the answer has no text');
              return wholeSentences && finishReason === 'length' ? upToSentence(message.content) : message.content;
            },
            shared,
          ),
        ),
      );
    },
    optionLogps: (prompt, choices) => logpsOf(prompt, choices),
    optionLogpsAll: (questions, { signal } = {}) => together(signal, (shared) => questions.map(({ prompt, options: choices }) => logpsOf(prompt, choices, shared))),
  };
}

/** All of them, or the first failure; the rest is then left. */
async function together<T>(signal: AbortSignal | undefined, start: (shared: AbortSignal) => readonly Promise<T>[]): Promise<T[]> {
  const shared = linkedSignal(signal);
  try {
    return await Promise.all(start(shared.signal));
  } finally {
    shared.abort();
    shared.unlink();
  }
}
