import { defineRolloutEngine, EspalierError, type Completion, type GenerateRequest, type RolloutEngine } from '@espalier/spec';
import { bigramsOf, vocabularySize, type Bigrams } from './bigrams.js';
import { uniform } from './random.js';

export interface __PascalName__Options {
  /** What the model is made of. Default: a sentence. */
  text?: string;
  /** Added to every count. Default 0.01. */
  smoothing?: number;
}

const sentence = 'An espalier is the frame on which a tree is trained while it grows.\n';
const endOfSequence = 10; // a line's end

/**
 * A rollout engine over the smallest of language models: which byte follows which in a text. Put your own model, or a service, in its place: what an engine
 * owes its callers stays the same.
 *
 * @throws EspalierError `bad_config`
 * @example
 * const engine = __camelName__Engine();
 * for await (const { text } of engine.generate([{ id: 'a', prompt: Int32Array.from(Buffer.from('A')), n: 4, seed: 1 }])) console.log(text);
 * await engine.close();
 */
export function __camelName__Engine(options: __PascalName__Options = {}): RolloutEngine {
  const { text = sentence } = options;
  const smoothing = Number(options.smoothing ?? 0.01);
  if (typeof text !== 'string' || text === '') throw new EspalierError('bad_config', `__name__: \`text\` is ${JSON.stringify(text)}`, { fix: 'some text' });
  if (!(smoothing > 0 && smoothing < Infinity)) throw new EspalierError('bad_config', `__name__: \`smoothing\` is ${JSON.stringify(options.smoothing)}`, { fix: 'a number above 0' });
  const model = bigramsOf(text, smoothing);
  let closed = false;
  const demandOpen = () => {
    if (closed) throw new EspalierError('closed', '__name__: the engine is closed');
  };

  return defineRolloutEngine({
    name: '__name__',
    capabilities: { tokenIds: true, logps: true, sync: 'none' },

    async *generate(requests, { signal } = {}) {
      demandOpen();
      for (const request of requests) demandServed(request); // before the first sample, and not in the middle
      for (const request of requests) {
        for (let index = 0; index < (request.n ?? 1); index++) {
          yield sample(model, request, index, signal);
          demandOpen();
        }
      }
    },

    async score(sequences) {
      demandOpen();
      return sequences.map((tokens) => {
        demandBytes(tokens);
        return Float32Array.from(tokens, (token, t) => (t === 0 ? NaN : model.logps(tokens[t - 1], 1)[token]));
      });
    },

    async close() {
      closed = true;
    },
  });
}

/** One completion of a request. An engine that is told to stop gives back what it has, as `aborted`. */
function sample(model: Bigrams, { id, prompt, seed, sampling = {} }: GenerateRequest, index: number, signal: AbortSignal | undefined): Completion {
  const { maxNewTokens = 16, temperature = 1, stop = [], stopTokens = [], ignoreEos = false } = sampling;
  const tokens: number[] = [];
  const logps: number[] = [];
  let text = '';
  let finishReason: Completion['finishReason'] = 'length';
  while (tokens.length < maxNewTokens) {
    if (signal?.aborted) {
      finishReason = 'aborted';
      break;
    }
    const distribution = model.logps(tokens.at(-1) ?? prompt[prompt.length - 1], temperature === 0 ? 1 : temperature);
    const token = temperature === 0 ? likeliest(distribution) : drawn(distribution, uniform(seed, index, tokens.length));
    tokens.push(token);
    logps.push(distribution[token]);
    const ended = stopTokens.includes(token) || (token === endOfSequence && !ignoreEos);
    text = Buffer.from(ended ? tokens.slice(0, -1) : tokens).toString('utf8');
    const cut = Math.min(...stop.map((each) => text.indexOf(each)).filter((at) => at >= 0));
    if (cut < Infinity) text = text.slice(0, cut);
    if (ended || cut < Infinity) {
      finishReason = 'stop';
      break;
    }
  }
  return { requestId: id, index, tokens: Int32Array.from(tokens), logps: Float32Array.from(logps), text, finishReason, version: 0 };
}

function likeliest(distribution: Float64Array): number {
  return distribution.reduce((best, logp, token) => (logp > distribution[best] ? token : best), 0);
}

function drawn(distribution: Float64Array, at: number): number {
  let sum = 0;
  for (let token = 0; token < distribution.length; token++) if ((sum += Math.exp(distribution[token])) > at) return token;
  return distribution.length - 1; // rounding
}

/** Refuses what this engine cannot do: a caller that is not told would believe that it was done. */
function demandServed({ prompt, sampling = {}, topLogps = 0 }: GenerateRequest): void {
  demandBytes(prompt);
  if (prompt.length === 0) throw new EspalierError('bad_data', '__name__: a prompt has no tokens', { fix: 'at least one' });
  const { topK = 0, topP = 1, minP = 0, repetitionPenalty = 1, minNewTokens = 0 } = sampling;
  const asked = { topK: topK > 0, topP: topP < 1, minP: minP > 0, repetitionPenalty: repetitionPenalty !== 1, minNewTokens: minNewTokens > 0, topLogps: topLogps > 0 };
  const unserved = Object.entries(asked).flatMap(([name, used]) => (used ? [name] : []));
  if (unserved.length > 0) throw new EspalierError('unsupported', `__name__ knows no ${unserved.join(', ')}`, { fix: 'leave it out' });
}

function demandBytes(tokens: Int32Array): void {
  const wrong = tokens.find((token) => token < 0 || token >= vocabularySize);
  if (wrong !== undefined) throw new EspalierError('bad_data', `__name__: token ${wrong} is no byte`, { fix: `tokens from 0 to ${vocabularySize - 1}` });
}
