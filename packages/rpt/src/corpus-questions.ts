import { Random } from '@espalier/data';
import { EspalierError, type Learner, type Message } from '@espalier/spec';

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
   * Ask only where the next token is hard: entropy (nats) under `learner` of at least this. Easy positions teach nothing (§4.1 of the paper, which
   * takes the entropy of a small proxy model).
   */
  minEntropy?: number;
  learner?: Learner;
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
}

const defaultTemplate = 'Complete the text: think about what comes next, then write the next words exactly as they continue it, leading spaces included, inside \\boxed{}.\n\n{context}';

/**
 * Texts as questions of reinforcement pre-training: each asks what comes next at one position (Dong et al. 2025, 2506.08007, §3).
 * @throws EspalierError `bad_config` when `minEntropy` is given without a learner
 */
export async function* corpusQuestions(texts: Iterable<string> | AsyncIterable<string>, tokenizer: CorpusTokenizer, options: CorpusQuestionsOptions = {}): AsyncGenerator<CorpusQuestion> {
  const { positionsPerText = 1, minContext = 16, maxContext = 512, horizon = 8, minEntropy, learner, template = defaultTemplate, format = 'messages', seed = 0, signal } = options;
  if (minEntropy !== undefined && !learner) throw new EspalierError('bad_config', '`minEntropy` needs a learner that gives the entropies', { fix: 'the learner of an engine with a small model' });
  if (!template.includes('{context}')) throw new EspalierError('bad_config', '`template` does not contain {context}');
  let number = 0;
  for await (const text of texts) {
    const ids = tokenizer.encode(text, { addSpecialTokens: false });
    const random = new Random(seed, number++);
    let positions = Array.from({ length: Math.max(0, ids.length - minContext) }, (_, i) => minContext + i);
    if (minEntropy !== undefined && learner && positions.length > 0) {
      const entropies = await positionEntropies(learner, ids, maxContext + horizon, signal);
      positions = positions.filter((position) => entropies[position] >= minEntropy);
    }
    const order = random.permutation(positions.length);
    let asked = 0;
    for (let i = 0; i < order.length && asked < positionsPerText; i++) {
      const question = questionAt(ids, positions[order[i]], tokenizer, maxContext, horizon);
      if (!question) continue;
      asked++;
      const content = template.replace('{context}', () => question.context);
      yield { prompt: format === 'messages' ? [{ role: 'user', content }] : content, ...question };
    }
  }
}

/** Null where the position is not between two characters, or the tokens do not decode to the text. */
function questionAt(ids: Int32Array, position: number, tokenizer: CorpusTokenizer, maxContext: number, horizon: number): Pick<CorpusQuestion, 'context' | 'continuation' | 'boundaries'> | null {
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
  return boundaries.length > 0 ? { context, continuation, boundaries: [...new Set(boundaries)] } : null;
}

/** Entropy (nats) of the prediction of each token, in windows of at most `window` tokens; the first has none (0). */
async function positionEntropies(learner: Learner, ids: Int32Array, window: number, signal: AbortSignal | undefined): Promise<Float32Array> {
  const entropies = new Float32Array(ids.length);
  for (let start = 0; start + 1 < ids.length; start += window) {
    const tokens = ids.slice(start, start + window);
    if (tokens.length < 2) break;
    const actionIndex = Int32Array.from({ length: tokens.length - 1 }, (_, i) => i + 1);
    const batch = { tokens, offsets: Int32Array.of(0, tokens.length), actionIndex, columns: {}, normalizer: { tokens: actionIndex.length, sequences: 1 } };
    const { entropy } = await learner.forward(batch, ['entropy'], { signal });
    entropies.set(entropy!, start + 1);
  }
  return entropies;
}
