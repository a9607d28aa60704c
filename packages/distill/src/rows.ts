import { checkRow, toPrompt, type Row, type RowOrigin } from '@espalier/data';
import { encodePrompt, type PromptEncoder, type PromptText } from '@espalier/trainer';
import { EspalierError, type Message, type TokenBatch } from '@espalier/spec';

/** What rows need of a tokenizer; that of `@espalier/models` is one. */
export interface RowTokenizer extends PromptEncoder {
  readonly eosTokenId?: number | null;
}

/** A row, ready: its prompt, and where it has one its completion. */
export interface DistillRow {
  prompt: PromptText;
  /** For a model to go on from. */
  promptTokens: Int32Array; // [P]
  /** Prompt and completion of the row itself; null for a row that is only a prompt. */
  example: { tokens: Int32Array; /** First token of the completion. */ start: number } | null;
}

export interface PrepareRowOptions {
  /** Tokens of prompt and completion; of a longer row the last ones are kept. */
  maxLength: number;
  /** Tokens that both models can take: a prompt must leave room for a generated completion. */
  positions: number;
  /** Tokens that a generated completion may have; null: none is generated. */
  maxNewTokens: number | null;
  /** Every row must bring its completion. */
  completionNeeded: boolean;
  origin?: RowOrigin;
}

const placeOf = ({ file, line }: RowOrigin) => (file === undefined ? 'row' : line === undefined ? file : `${file}:${line}`);

/**
 * Tokens of a row in one of TRL's formats: prompt and completion, messages (the last of which, the assistant's, is the completion), or a prompt alone.
 * A completion in plain text gets the end-of-sequence token; it begins where the tokens of the prompt alone and of both part. Of a row that is too long the
 * beginning of the prompt is cut off, as in TRL. A row whose completion has no tokens, where one is needed, is null.
 *
 * @throws EspalierError `bad_data` that names file, line and field
 */
export function prepareRow(row: Row, tokenizer: RowTokenizer, options: PrepareRowOptions): DistillRow | null {
  const { maxLength, positions, maxNewTokens, completionNeeded, origin = {} } = options;
  const where = placeOf(origin);
  const turns = row.prompt === undefined && Array.isArray(row.messages) ? (row.messages as readonly Message[]) : null;
  if (turns) checkRow(row, ['language_modeling'], origin);
  const prompt = toPrompt(row, origin);
  if (row.completion !== undefined && row.completion !== null) checkRow(row, ['prompt_completion'], origin);
  const last = turns?.at(-1);
  const completion = turns ? (last?.role === 'assistant' ? [last] : null) : ((row.completion ?? null) as string | readonly Message[] | null);
  if (completionNeeded && completion === null) {
    throw new EspalierError('bad_data', `${where}: there is no \`${turns ? 'messages` that ends with the assistant\'s' : 'completion'}\`, and rows that are not on-policy are trained on with their own`, { fix: 'add it, or set `lmbda` to 1, or `seq_kd`' });
  }
  const whole = encodePrompt(tokenizer, prompt, where);
  const example = completion === null ? null : encodeExample(prompt, whole, completion, tokenizer);
  if (completion !== null && example === null && completionNeeded) return null;
  const cut = Math.max(0, (example?.tokens.length ?? whole.length) - maxLength);
  if (example && example.start - cut < 1) {
    throw new EspalierError('bad_data', `${where}: cut to ${maxLength} tokens, the row has a completion and no prompt`, { fix: 'a larger `max_length` where the models have the positions, or a shorter completion' });
  }
  const promptTokens = cut === 0 ? whole : example ? example.tokens.slice(cut, example.start) : whole.slice(cut);
  if (maxNewTokens !== null && promptTokens.length + maxNewTokens > positions) {
    throw new EspalierError('bad_data', `${where}: \`prompt\` has ${promptTokens.length} tokens, and with ${maxNewTokens} new ones it is longer than the ${positions} positions of the models`, { fix: 'a shorter prompt, or a smaller `max_new_tokens`' });
  }
  return { prompt, promptTokens, example: example && { tokens: example.tokens.slice(cut), start: example.start - cut } };
}

function encodeExample(prompt: PromptText, promptTokens: Int32Array, completion: string | readonly Message[], tokenizer: RowTokenizer): DistillRow['example'] {
  const tokens =
    typeof prompt === 'string'
      ? withEos(tokenizer.encode(`${prompt}${completion as string}`), tokenizer)
      : tokenizer.encode(tokenizer.applyChatTemplate([...prompt, ...(completion as readonly Message[])]), { addSpecialTokens: false });
  let start = 0;
  while (start < Math.min(promptTokens.length, tokens.length) && promptTokens[start] === tokens[start]) start++;
  start = Math.max(start, 1); // nothing precedes the first token
  return tokens.length > start ? { tokens, start } : null;
}

function withEos(tokens: Int32Array, { eosTokenId }: RowTokenizer): Int32Array {
  if (eosTokenId === undefined || eosTokenId === null || tokens.at(-1) === eosTokenId) return tokens;
  return Int32Array.from([...tokens, eosTokenId]);
}

/** Sequences as one ragged batch, nothing padded: every token from `start` on is an action. */
export function packSequences(sequences: readonly { tokens: Int32Array; start: number }[]): TokenBatch {
  const offsets = new Int32Array(sequences.length + 1);
  sequences.forEach(({ tokens }, i) => (offsets[i + 1] = offsets[i] + tokens.length));
  const tokens = new Int32Array(offsets[sequences.length]);
  const actionIndex: number[] = [];
  sequences.forEach((sequence, i) => {
    tokens.set(sequence.tokens, offsets[i]);
    for (let t = sequence.start; t < sequence.tokens.length; t++) actionIndex.push(offsets[i] + t);
  });
  return { tokens, offsets, actionIndex: Int32Array.from(actionIndex), columns: {}, normalizer: { tokens: actionIndex.length, sequences: sequences.length } };
}
