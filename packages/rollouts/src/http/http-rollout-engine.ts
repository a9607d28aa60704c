import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { EspalierError, throwIfAborted, type Completion, type GenerateRequest, type RolloutEngine, type SamplingOptions, type WeightsHandle } from '@espalier/spec';
import { withRetries, type RetryOptions, type TransientFailure } from '@espalier/spec/retry';
import type { Tokenizer } from '@espalier/models';
import { AdaptiveLimit, type AdaptiveLimitOptions } from './adaptive-limit';
import { missingForTraining, neutral, probeCapabilities, type HttpCapabilities } from './capabilities';
import { promptLogpsOf, samplesOf } from './completion-answer';
import { HttpClient, HttpRefusal, unreachable, type HttpClientOptions } from './http-client';
import { linkedSignal } from './linked-signal';

export interface HttpRolloutEngineOptions extends HttpClientOptions, RetryOptions {
  /** The model's name on the server. */
  model: string;
  /** Decodes prompts for servers that take text alone. */
  tokenizer?: Pick<Tokenizer, 'encode' | 'decode'>;
  /** Refuse a server that lacks what training needs. Default false: for evaluation and judging. */
  training?: boolean | { temperature?: number };
  /** Requests at once: where to begin, and the bounds. What it is in between, throughput says. */
  concurrency?: AdaptiveLimitOptions;
  /** Under which names adapters are pushed: `<prefix>-v<version>-<digest>`. Default: `espalier-` and eight random letters. */
  adapterPrefix?: string;
  /** Told of each try that failed. */
  onRetry?(failure: TransientFailure): void;
  /** Stops probing. */
  signal?: AbortSignal;
}

export interface HttpRolloutEngine extends RolloutEngine {
  capabilities: HttpCapabilities;
  /** Requests that may run at once, now. */
  readonly concurrency: number;
  /** @throws EspalierError `unsupported`, saying all that is missing */
  requireTraining(sampling?: { temperature?: number }): void;
}

/**
 * An OpenAI-compatible server (vLLM, SGLang, llama.cpp, Ollama, TGI, `espalier serve`, hosted ones) as a rollout engine. What it can do is found out here and
 * stated in `capabilities`. A request counts when its whole answer has come; one that broke off is asked for again, so that nothing is lost and nothing is
 * counted twice.
 * @throws EspalierError `network`, `not_found`, `bad_config`, `usage`; `unsupported` when training is asked for and something is missing for it
 * @example
 * const rollouts = await httpRolloutEngine({ baseUrl: 'http://127.0.0.1:8000/v1', model: 'mine', training: true });
 * for await (const { text, logps } of rollouts.generate([{ id: 'a', prompt, seed: 1, n: 8 }])) console.log(text, logps);
 */
export async function httpRolloutEngine(options: HttpRolloutEngineOptions): Promise<HttpRolloutEngine> {
  const { model, tokenizer } = options;
  const client = new HttpClient(options);
  const limit = new AdaptiveLimit(options.concurrency);
  const capabilities = await probeCapabilities({ client, model, retry: options, signal: options.signal });
  const name = `http ${capabilities.server}`;
  const requireTraining = (sampling?: { temperature?: number }) => {
    const missing = missingForTraining(capabilities, sampling);
    if (missing.length > 0) throw new EspalierError('unsupported', `${client.root} cannot sample for training: ${missing.join('; ')}`);
  };
  if (options.training) requireTraining(options.training === true ? {} : options.training);
  if (!capabilities.promptIds && !tokenizer) throw new EspalierError('unsupported', `${client.root} does not take token ids as prompts`, { fix: 'give the `tokenizer` of its model, to decode them' });

  const closing = new AbortController();
  const prefix = options.adapterPrefix ?? `espalier-${randomBytes(4).toString('hex')}`;
  let weights: Weights = { name: model, version: 0, users: 0 };
  const unloading = new Set<Promise<void>>();

  const open = () => {
    if (closing.signal.aborted) throw new EspalierError('closed', 'the rollout engine is closed');
  };
  /** One request with retries, at most as many at once as the limit allows. */
  const ask = <T>(what: string, body: object, read: (events: unknown[]) => { value: T; tokens: number }, signal: AbortSignal): Promise<T> =>
    withRetries(
      what,
      () => limit.run(async () => read(await client.call('POST', '/v1/completions', body, signal)), signal),
      { ...options, fix: unreachable, signal, onFailure: (failure) => (failure.overload && limit.overloaded(), options.onRetry?.(failure)) },
    ).catch((error: unknown) => {
      throw error instanceof HttpRefusal ? new EspalierError(error.status === 404 ? 'not_found' : error.status === 401 || error.status === 403 ? 'network' : 'bad_data', `${what}: ${client.root} refuses: ${error.message}`) : error;
    });

  const promptOf = (prompt: Int32Array) => (capabilities.promptIds ? [...prompt] : tokenizer!.decode(prompt));

  async function complete(request: GenerateRequest, from: Weights, signal: AbortSignal): Promise<Completion[]> {
    const { n = 1, sampling = {}, seed } = request;
    if (request.topLogps) throw new EspalierError('unsupported', `request "${request.id}" asks for the likeliest tokens, which the HTTP engine does not fetch`);
    const body = {
      model: from.name,
      prompt: promptOf(request.prompt),
      ...samplingFields(request.id, sampling, capabilities),
      ...(capabilities.tokenIds && { return_token_ids: true }),
      ...(capabilities.logps && { logprobs: 1 }),
      ...(capabilities.streaming && { stream: true }),
    };
    const keep = capabilities.logps && logpsFit(sampling, capabilities);
    const one = (count: number, itsSeed: number, first: number) =>
      ask(
        `request "${request.id}"`,
        { ...body, seed: itsSeed, ...(count > 1 && { n: count }) },
        (events) => {
          const samples = samplesOf(events, count);
          const value = samples.map(({ text, tokens, logps, finishReason }, k): Completion => {
            const ids = Int32Array.from(tokens ?? (tokenizer ? tokenizer.encode(text, { addSpecialTokens: false }) : []));
            return { requestId: request.id, index: first + k, tokens: ids, logps: keep && tokens && logps ? Float32Array.from(logps) : null, text, finishReason, version: from.version };
          });
          return { value, tokens: value.reduce((sum, completion) => sum + completion.tokens.length, 0) };
        },
        signal,
      );
    if (capabilities.multiple || n === 1) return one(n, seed, 0);
    return (await Promise.all(Array.from({ length: n }, (_, k) => one(1, (seed + k * 0x9e3779b1) % 2 ** 31, k)))).flat();
  }

  async function* generate(requests: readonly GenerateRequest[], given: { signal?: AbortSignal } = {}): AsyncGenerator<Completion> {
    open();
    const stop = linkedSignal(given.signal, closing.signal);
    const from = weights;
    from.users++;
    const ready: Completion[] = [];
    let wake = () => {};
    let left = requests.length;
    let failure: unknown = null;
    const aborted = ({ id, n = 1 }: GenerateRequest): Completion[] =>
      Array.from({ length: n }, (_, index) => ({ requestId: id, index, tokens: new Int32Array(0), logps: capabilities.logps ? new Float32Array(0) : null, text: '', finishReason: 'aborted', version: from.version }));
    const running = requests.map((request) =>
      complete(request, from, stop.signal)
        .then(
          (completions) => ready.push(...completions),
          (error: unknown) => {
            if (stop.signal.aborted && !closing.signal.aborted && !failure) ready.push(...aborted(request));
            else {
              failure ??= closing.signal.aborted ? new EspalierError('closed', 'the rollout engine was closed while it generated') : error;
              stop.abort();
            }
          },
        )
        .finally(() => {
          left--;
          wake();
        }),
    );
    try {
      for (;;) {
        while (ready.length > 0 && !failure) yield ready.shift()!;
        if (failure) throw failure;
        if (left === 0) return;
        await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      stop.abort();
      stop.unlink();
      await Promise.all(running);
      release(from);
    }
  }

  /** Weights that are neither current nor in use leave the server. */
  function release(from: Weights): void {
    if (--from.users > 0 || from === weights || from.name === model) return;
    unload(from.name);
  }

  function unload(adapter: string): void {
    const done = client.call('POST', '/v1/unload_lora_adapter', { lora_name: adapter }).then(
      () => undefined,
      () => undefined, // it stays until the server makes room; its name is never used again
    );
    unloading.add(done);
    void done.finally(() => unloading.delete(done));
  }

  async function sync(handle: WeightsHandle): Promise<void> {
    open();
    if (handle.kind !== 'adapter') throw new EspalierError('unsupported', `a server over HTTP takes LoRA adapters, not ${handle.kind === 'full' ? 'whole models' : 'weights in memory'}`, { fix: 'train with LoRA and publish the adapter as a folder that the server can read' });
    if (capabilities.sync !== 'adapter') throw new EspalierError('unsupported', `${client.root} does not load adapters while it runs`, { fix: 'start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, or espalier serve with --adapter-dir' });
    const adapter = `${prefix}-v${handle.version}-${handle.digest.replace(/[^\w]/g, '').slice(0, 8)}`; // a new name each: caches of the old weights cannot be hit
    if (adapter === weights.name) return;
    const path = handle.uri.startsWith('file:') ? fileURLToPath(handle.uri) : handle.uri;
    try {
      await withRetries(`loading ${adapter}`, () => client.call('POST', '/v1/load_lora_adapter', { lora_name: adapter, lora_path: path }, closing.signal), { ...options, fix: unreachable, signal: closing.signal, onFailure: options.onRetry });
    } catch (error) {
      if (!(error instanceof HttpRefusal)) throw error;
      // A try whose answer was lost may have loaded it.
      const [list] = (await client.call('GET', '/v1/models', undefined, closing.signal).catch(() => [null])) as [{ data?: { id?: string }[] } | null];
      if (!list?.data?.some(({ id }) => id === adapter)) throw new EspalierError('unsupported', `${client.root} does not load the adapter ${path}: ${error.message}`);
    }
    const before = weights;
    weights = { name: adapter, version: handle.version, users: 0 };
    if (before.users === 0 && before.name !== model) unload(before.name);
  }

  const engine: HttpRolloutEngine = {
    specVersion: 'v1',
    name,
    capabilities,
    get concurrency() {
      return limit.limit;
    },
    requireTraining,
    generate,
    sync,
    close: async () => {
      if (!closing.signal.aborted && weights.name !== model && weights.users === 0) unload(weights.name);
      closing.abort();
      await Promise.all(unloading);
    },
  };
  if (capabilities.scoring !== 'none') {
    const fields = capabilities.scoring === 'echo' ? { echo: true, logprobs: 1 } : { prompt_logprobs: 0 };
    engine.score = async (sequences) => {
      open();
      const from = weights;
      from.users++;
      const stop = linkedSignal(closing.signal);
      try {
        return await Promise.all(
          sequences.map((sequence, s) => {
            if (sequence.length === 0) throw new EspalierError('bad_data', `sequence ${s} to be scored is empty`);
            // A sequence that fills the model leaves no room for the token that most servers insist on generating.
            const full = capabilities.maxPositions !== null && sequence.length >= capabilities.maxPositions;
            const body = { model: from.name, prompt: [...sequence], max_tokens: full ? 0 : 1, temperature: 1, ...fields };
            return ask(`scoring sequence ${s}`, body, ([event]) => ({ value: promptLogpsOf(event, sequence), tokens: sequence.length }), stop.signal);
          }),
        );
      } finally {
        stop.abort();
        stop.unlink();
        release(from);
      }
    };
  }
  throwIfAborted(options.signal);
  return engine;
}

/** What generates: the model, or an adapter over it. */
interface Weights {
  name: string;
  version: number;
  /** Calls under way. */
  users: number;
}

/** Whether the server's log-probs are those of the contract: at the temperature, before any filter. */
function logpsFit({ temperature = 1, topK = 0, topP = 1, minP = 0, repetitionPenalty = 1 }: SamplingOptions, found: HttpCapabilities): boolean {
  if (found.server === 'espalier') return true;
  if (temperature === 0) return found.logpsAt !== 'unknown';
  const filtered = topK > 0 || topP < 1 || minP > 0 || repetitionPenalty !== 1;
  if (found.logpsAt === 'raw') return temperature === 1; // before any filter
  return !filtered && (temperature === 1 || found.logpsAt === 'processed');
}

/** The server's words for the options. Where its defaults may not be neutral, they are said. */
function samplingFields(id: string, sampling: SamplingOptions, found: HttpCapabilities): Record<string, unknown> {
  const { maxNewTokens = 16, minNewTokens = 0, temperature = 1, topK = 0, topP = 1, minP = 0, repetitionPenalty = 1, stop = [], stopTokens = [], ignoreEos = false } = sampling;
  const fields: Record<string, unknown> = { max_tokens: maxNewTokens, temperature, top_p: topP };
  if (stop.length > 0) fields['stop'] = stop;
  if (found.extended) Object.assign(fields, neutral);
  const special: [boolean, string, unknown][] = [
    [topK > 0, 'top_k', topK],
    [minP > 0, 'min_p', minP],
    [repetitionPenalty !== 1, 'repetition_penalty', repetitionPenalty],
    [minNewTokens > 0, 'min_tokens', minNewTokens],
    [stopTokens.length > 0, 'stop_token_ids', stopTokens],
    [ignoreEos, 'ignore_eos', true],
  ];
  for (const [asked, field, value] of special) {
    if (!asked) continue;
    if (!found.extended) throw new EspalierError('unsupported', `request "${id}" asks for \`${field}\`, which the server does not know`);
    fields[field] = value;
  }
  return fields;
}
