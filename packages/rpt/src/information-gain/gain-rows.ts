import { Random } from '@espalier/data';
import { EspalierError } from '@espalier/spec';
import type { CorpusTokenizer } from '../corpus-questions';
import type { GainRow } from './gain-reward';

export interface GainRowsOptions {
  /** Positions asked about in each text. Default 1: one at random (the paper's experiments). */
  positionsPerText?: number;
  /** Tokens of context, at least and at most. Defaults 16 and 512. */
  minContext?: number;
  maxContext?: number;
  /** Tokens after the position that are predicted. Default 1. */
  gainTokens?: number;
  /** What begins a thought. Default `<think>`. */
  thoughtStart?: string;
  seed?: number;
}

/**
 * Texts as positions for {@link informationGainReward}. The prompt of a row is text that the tokenizer turns into exactly the tokens that the row has: positions
 * inside of a word that would be tokenised otherwise are passed over. A text without a fitting position gives none.
 * @throws EspalierError `bad_config` when no context fits
 */
export async function* gainRows(texts: Iterable<string> | AsyncIterable<string>, tokenizer: CorpusTokenizer, options: GainRowsOptions = {}): AsyncGenerator<GainRow> {
  const { positionsPerText = 1, minContext = 16, maxContext = 512, gainTokens = 1, thoughtStart = '<think>', seed = 0 } = options;
  if (maxContext < minContext) throw new EspalierError('bad_config', `there is room for ${Math.max(maxContext, 0)} tokens of context, and \`min_context\` is ${minContext}`, { fix: 'a smaller `max_completion_length` or `min_context`' });
  let document = 0;
  for await (const text of texts) {
    const ids = tokenizer.encode(text, { addSpecialTokens: false });
    const random = new Random(seed, document);
    const order = random.permutation(Math.max(0, ids.length - gainTokens - minContext + 1));
    let given = 0;
    for (let i = 0; i < order.length && given < positionsPerText; i++) {
      const row = rowAt(ids, minContext + order[i], tokenizer, maxContext, gainTokens, thoughtStart);
      if (!row) continue;
      given++;
      yield { ...row, document, position: minContext + order[i] };
    }
    document++;
  }
}

/** Null where the text before the position is not tokenised as it stands in the whole. */
function rowAt(ids: Int32Array, position: number, tokenizer: CorpusTokenizer, maxContext: number, gainTokens: number, thoughtStart: string): GainRow | null {
  const context = ids.subarray(Math.max(0, position - maxContext), position);
  const text = tokenizer.decode(context);
  if (!sameTokens(tokenizer.encode(text, { addSpecialTokens: false }), context)) return null;
  const plain = tokenizer.encode(text);
  const prompt = `${text}${thoughtStart}`;
  const asked = tokenizer.encode(prompt);
  // What ends a text (an end-of-sequence token of some tokenizers) would stand between context and prediction.
  const lead = plain.length - context.length;
  if (lead < 0 || !sameTokens(plain.subarray(lead), context) || !sameTokens(asked.subarray(0, plain.length), plain)) return null;
  return { prompt, context_tokens: [...plain], prompt_tokens: [...asked], target_tokens: [...ids.subarray(position, position + gainTokens)] };
}

const sameTokens = (a: Int32Array, b: Int32Array) => a.length === b.length && a.every((token, i) => token === b[i]);
