import { stat } from 'node:fs/promises';
import { EspalierError, throwIfAborted, upToSentence, type CompleteOptions, type Message, type OptionQuestion, type TextModel } from '@espalier/spec';
import { z } from 'zod';
import { loadNodeLlamaCpp, type ChatWrapper, type LlamaModel, type LlamaModule, type LlamaSequence, type Token } from './node-llama-cpp';

const optionsSchema = z.strictObject({
  /** A .gguf file. */
  model: z.string().min(1),
  /** Tokens that prompt and answer may have together. Default: what the model was trained on, at most 4096. */
  contextSize: z.int().min(2).optional(),
  /** Default `auto`. */
  gpu: z.union([z.enum(['auto', 'metal', 'cuda', 'vulkan']), z.literal(false)]).default('auto'),
  /** Layers on the GPU. Default: as many as fit. */
  gpuLayers: z.int().min(0).optional(),
  /** Default: what node-llama-cpp takes. */
  threads: z.int().positive().optional(),
});

export type LlamaCppOptions = z.input<typeof optionsSchema>;

/** A text model that holds memory until it is closed. */
export interface LlamaCppModel extends TextModel {
  optionLogps(prompt: string | readonly Message[], options: readonly string[]): Promise<readonly number[]>;
  close(): Promise<void>;
}

/**
 * A model in GGUF, run by llama.cpp, as a {@link TextModel}: what judges and critics are prompts over. Messages go through the chat template that the file
 * carries. One question is answered after another; what it shares with the one before is not computed again.
 *
 * @param loadModule gives node-llama-cpp from another place
 * @throws EspalierError `bad_config` for a wrong option, `not_found` for no such file, `bad_checkpoint` for one that llama.cpp cannot read,
 * `backend_unavailable` without node-llama-cpp
 * @example
 * const judge = await llamaCppModel({ model: 'judge.Q4_K_M.gguf' });
 * const [a, b] = await judge.optionLogps('Two plus two is four: (A) true, (B) false? (', ['A', 'B']);
 * await judge.close();
 */
export async function llamaCppModel(options: LlamaCppOptions, loadModule?: () => Promise<unknown>): Promise<LlamaCppModel> {
  const checked = optionsSchema.safeParse(options);
  if (!checked.success) {
    const [issue] = checked.error.issues;
    throw new EspalierError('bad_config', `llama-cpp: ${issue.code === 'unrecognized_keys' ? `unknown field \`${issue.keys[0]}\`` : `\`${issue.path.join('.')}\`: ${issue.message}`}`, { fix: 'model, contextSize, gpu, gpuLayers, threads' });
  }
  const { model: path, contextSize, gpu, gpuLayers, threads } = checked.data;
  const info = await stat(path).catch(() => null);
  if (!info?.isFile()) throw new EspalierError('not_found', `there is no model ${path}`, { fix: 'a .gguf file' });
  const module = await loadNodeLlamaCpp(loadModule);
  const llama = await module.getLlama({ gpu, logLevel: 'error', build: 'never', ...(threads === undefined ? {} : { maxThreads: threads }) });
  try {
    const model = await llama.loadModel({ modelPath: path, ...(gpuLayers === undefined ? {} : { gpuLayers }) });
    const context = await model.createContext({ contextSize: contextSize ?? Math.min(model.trainContextSize, 4096), sequences: 1 });
    return opened(module, model, context.getSequence(), context.contextSize, async () => {
      await context.dispose();
      await model.dispose();
      await llama.dispose();
    });
  } catch (cause) {
    await llama.dispose();
    throw new EspalierError('bad_checkpoint', `llama.cpp cannot load ${path}: ${(cause as Error).message}`, { fix: 'a GGUF file of an architecture that this llama.cpp knows', cause });
  }
}

function opened(module: LlamaModule, model: LlamaModel, sequence: LlamaSequence, contextSize: number, dispose: () => Promise<void>): LlamaCppModel {
  // The wrapper that node-llama-cpp takes by itself may leave out what the template adds, such as its system message.
  const template = model.fileInfo.metadata.tokenizer?.chat_template;
  const wrapper: ChatWrapper = template === undefined ? module.resolveChatWrapper(model) : new module.JinjaTemplateChatWrapper({ template });
  let queue: Promise<unknown> = Promise.resolve();
  let closed = false;
  /** One after another: there is one state. */
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    if (closed) return Promise.reject(new EspalierError('closed', 'the llama.cpp model is closed'));
    const result = queue.then(work);
    queue = result.catch(() => undefined);
    return result;
  };
  const encode = (prompt: string | readonly Message[], room: number): Token[] => {
    const tokens = typeof prompt === 'string' ? [...(model.tokens.shouldPrependBosToken && model.tokens.bos !== null ? [model.tokens.bos] : []), ...model.tokenize(prompt, false)] : chatTokens(wrapper, model, prompt);
    if (tokens.length === 0) throw new EspalierError('bad_data', 'a prompt has no tokens', { fix: 'a prompt of at least one token' });
    if (tokens.length + room > contextSize) throw new EspalierError('bad_data', `a prompt of ${tokens.length} tokens and ${room} more do not fit the context of ${contextSize}`, { fix: 'a larger `contextSize`, or a shorter prompt' });
    return tokens;
  };
  /** Of the prompt, what the state does not hold; at least its last token, whose successor is asked for. */
  const remaining = async (tokens: Token[]): Promise<Token[]> => {
    await sequence.adaptStateToTokens(tokens.slice(0, -1), false);
    return tokens.slice(sequence.nextTokenIndex);
  };

  const completeOne = async (prompt: string | readonly Message[], seed: number, { maxNewTokens = 256, temperature = 0, stop = [], wholeSentences = false, signal }: CompleteOptions): Promise<string> => {
    throwIfAborted(signal);
    const tokens = encode(prompt, maxNewTokens);
    const answer: Token[] = [];
    let text = '';
    for await (const token of sequence.evaluate(await remaining(tokens), { temperature, seed })) {
      throwIfAborted(signal);
      if (model.isEogToken(token)) break;
      answer.push(token);
      text = model.detokenize(answer, false, tokens);
      const at = firstOf(text, stop);
      if (at >= 0) return text.slice(0, at);
      if (answer.length >= maxNewTokens) return wholeSentences ? upToSentence(text) : text;
    }
    return text;
  };

  const optionsOf = async (prompt: string | readonly Message[], options: readonly string[]): Promise<number[]> => {
    const encoded = options.map((option, k) => {
      const tokens = model.tokenize(option, false, 'trimLeadingSpace');
      if (tokens.length === 0) throw new EspalierError('bad_data', `option ${k} has no tokens`);
      return tokens;
    });
    const tokens = encode(prompt, Math.max(0, ...encoded.map(({ length }) => length)));
    const first = (await logpsAfter(sequence, await remaining(tokens), 1))[0];
    const sums: number[] = [];
    for (const option of encoded) {
      let sum = first(option[0]);
      if (option.length > 1) {
        const rest = await logpsAfter(sequence, option.slice(0, -1), option.length - 1);
        rest.forEach((logp, t) => (sum += logp(option[t + 1])));
        await sequence.eraseContextTokenRanges([{ start: tokens.length, end: sequence.nextTokenIndex }]);
      }
      sums.push(sum);
    }
    return sums;
  };

  return {
    complete: (prompts, options = {}) =>
      inTurn(async () => {
        const texts: string[] = [];
        for (const [i, prompt] of prompts.entries()) texts.push(await completeOne(prompt, options.seeds?.[i] ?? (options.seed ?? 0) + i, options));
        return texts;
      }),
    optionLogps: (prompt, options) => inTurn(() => optionsOf(prompt, options)),
    optionLogpsAll: (questions: readonly OptionQuestion[], { signal } = {}) =>
      inTurn(async () => {
        const all: number[][] = [];
        for (const { prompt, options } of questions) {
          throwIfAborted(signal);
          all.push(await optionsOf(prompt, options));
        }
        return all;
      }),
    async close() {
      if (closed) return;
      closed = true;
      await queue;
      await dispose();
    },
  };
}

/** Evaluates tokens; for each of the last `count`, the log-probs (nats, temperature 1) of what may follow it. */
async function logpsAfter(sequence: LlamaSequence, tokens: readonly Token[], count: number): Promise<((token: Token) => number)[]> {
  const results = await sequence.controlledEvaluate(tokens.map((token, i) => (i < tokens.length - count ? token : [token, { generateNext: { logits: true } }])));
  return results.slice(tokens.length - count).map((result) => {
    const logits = result?.next.logits;
    if (!logits) throw new EspalierError('unsupported', 'this version of node-llama-cpp gives no logits', { fix: 'npm install node-llama-cpp@latest' });
    let largest = -Infinity;
    for (const logit of logits.values()) if (logit > largest) largest = logit;
    let sum = 0;
    for (const logit of logits.values()) sum += Math.exp(logit - largest);
    const total = largest + Math.log(sum);
    return (token) => (logits.get(token) ?? -Infinity) - total;
  });
}

function chatTokens(wrapper: ChatWrapper, model: LlamaModel, messages: readonly Message[]): Token[] {
  if (messages.at(-1)?.role === 'assistant') throw new EspalierError('bad_data', "the last message of a prompt is the assistant's", { fix: 'end with a user message' });
  const history = messages.map(({ role, content }) => (role === 'assistant' ? { type: 'model' as const, response: [content] } : { type: role === 'system' ? ('system' as const) : ('user' as const), text: content }));
  return wrapper.generateContextState({ chatHistory: [...history, { type: 'model', response: [] }] }).contextText.tokenize(model.tokenizer);
}

function firstOf(text: string, stops: readonly string[]): number {
  const places = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
  return places.length === 0 ? -1 : Math.min(...places);
}
