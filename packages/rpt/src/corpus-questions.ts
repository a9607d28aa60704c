import { Random } from '@espalier/data';
import { EspalierError, type Message } from '@espalier/spec';
import { topEntropies, type EntropyProxy } from './next-token/top-entropy';

/** What corpus positions need of a tokenizer. */
export interface CorpusTokenizer {
  encode(text: string, options?: { addSpecialTokens?: boolean }): Int32Array;
  decode(ids: ArrayLike<number> & Iterable<number>, options?: { skipSpecialTokens?: boolean }): string;
}

export interface CorpusQuestionsOptions {
  /** Positions asked about in each text. Default 1. */
  positionsPerText?: number;
  /** Tokens of context before a position, at least and at most. Defaults 16 and 512. */
  minContext?: number;
  maxContext?: number;
  /** Tokens of the true continuation that a prediction may cover. Default 8. */
  horizon?: number;
  /**
   * Ask only where the next token is hard: entropy (nats) over the `entropyTopK` likeliest tokens of the proxy of at least this. Easy positions teach nothing
   * (§4.1 of the paper, which takes a small proxy model and its top 16).
   */
  minEntropy?: number;
  /** Default 16. */
  entropyTopK?: number;
  /** What says how hard a position is: an engine, or a rollout engine that gives `topLogps`. With it every question has its `entropy`. */
  proxy?: EntropyProxy;
  /** Positions of a text that are tried for `minEntropy`, at most. Default 64. */
  maxCandidates?: number;
  /** The question; `{context}` stands for the text before the position. */
  template?: string;
  format?: 'messages' | 'text';
  seed?: number;
  signal?: AbortSignal;
}

/** A question about a position of a corpus: `prompt`, and what {@link prefixMatchReward} reads. */
export interface CorpusQuestion {
  [column: string]: unknown;
  prompt: string | Message[];
  context: string;
  continuation: string;
  /** Cumulative byte lengths of the continuation's tokens. */
  boundaries: number[];
  /** The same in token ids. */
  context_tokens: number[];
  continuation_tokens: number[];
  /** Of the next token, over the likeliest ones of the proxy, in nats. */
  entropy?: number;
}

const defaultTemplate = 'Complete the text: think about what comes next, then write the next words exactly as they continue it, leading spaces included, inside \\boxed{}.\n\n{context}';

/** Positions whose entropy is asked for at once. */
const atOnce = 16;

/**
 * Texts as questions of reinforcement pre-training: each asks what comes next at one position (Dong et al. 2025, 2506.08007, §3).
 * @throws EspalierError `bad_config` when `minEntropy` is given without a proxy
 */
export async function* corpusQuestions(texts: Iterable<string> | AsyncIterable<string>, tokenizer: CorpusTokenizer, options: CorpusQuestionsOptions = {}): AsyncGenerator<CorpusQuestion> {
  const { positionsPerText = 1, minContext = 16, maxContext = 512, horizon = 8, minEntropy, entropyTopK = 16, proxy, maxCandidates = 64, template = defaultTemplate, format = 'messages', seed = 0, signal } = options;
  if (minEntropy !== undefined && !proxy) throw new EspalierError('bad_config', '`minEntropy` needs a `proxy` that gives the entropies', { fix: 'an engine with a small model' });
  if (!template.includes('{context}')) throw new EspalierError('bad_config', '`template` does not contain {context}');
  let number = 0;
  for await (const text of texts) {
    const ids = tokenizer.encode(text, { addSpecialTokens: false });
    const order = new Random(seed, number++).permutation(Math.max(0, ids.length - minContext));
    let asked = 0;
    let tried = 0;
    for (let i = 0; i < order.length && asked < positionsPerText && (!proxy || tried < maxCandidates); ) {
      const found: { position: number; question: ReturnType<typeof questionAt> & object }[] = [];
      for (; i < order.length && found.length < (proxy ? Math.min(atOnce, maxCandidates - tried) : 1); i++) {
        const question = questionAt(ids, minContext + order[i], tokenizer, maxContext, horizon);
        if (question) found.push({ position: minContext + order[i], question });
      }
      tried += found.length;
      const entropies = proxy ? await topEntropies(proxy, found.map(({ position }) => ids.slice(Math.max(0, position - maxContext), position)), { topK: entropyTopK, signal }) : null;
      for (const [c, { question }] of found.entries()) {
        if (asked === positionsPerText || (entropies && entropies[c] < (minEntropy ?? 0))) continue;
        asked++;
        const content = template.replace('{context}', () => question.context);
        yield { prompt: format === 'messages' ? [{ role: 'user', content }] : content, ...question, ...(entropies ? { entropy: entropies[c] } : {}) };
      }
    }
  }
}

/** Null where the position is not between two characters, or the tokens do not decode to the text. */
function questionAt(ids: Int32Array, position: number, tokenizer: CorpusTokenizer, maxContext: number, horizon: number): Pick<CorpusQuestion, 'context' | 'continuation' | 'boundaries' | 'context_tokens' | 'continuation_tokens'> | null {
  const start = Math.max(0, position - maxContext);
  const context = tokenizer.decode(ids.subarray(start, position));
  const end = Math.min(ids.length, position + horizon);
  const whole = tokenizer.decode(ids.subarray(start, end));
  if (context === '' || !whole.startsWith(context)) return null;
  const continuation = whole.slice(context.length);
  const boundaries: number[] = [];
  for (let t = position + 1; t <= end; t++) {
    const known = tokenizer.decode(ids.subarray(start, t)).slice(context.length);
    if (known !== '' && continuation.startsWith(known)) boundaries.push(Buffer.byteLength(known)); // else: ends inside a character
  }
  return boundaries.length > 0 ? { context, continuation, boundaries: [...new Set(boundaries)], context_tokens: [...ids.subarray(start, position)], continuation_tokens: [...ids.subarray(position, end)] } : null;
}
