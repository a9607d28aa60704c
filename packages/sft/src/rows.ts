import { checkRow, type Row, type RowOrigin } from '@espalier/data';
import { EspalierError, type Message, type TokenBatch } from '@espalier/spec';
import type { SFTConfig } from './config';

/** What rows need of a tokenizer; that of `@espalier/models` is one. */
export interface RowTokenizer {
  encode(text: string, options?: { addSpecialTokens?: boolean }): Int32Array;
  applyChatTemplate(messages: readonly Message[], options?: { addGenerationPrompt?: boolean }): string;
  readonly eosTokenId?: number | null;
}

/** A row as the learner sees it: its tokens, and which of them are trained on. */
export interface TokenizedRow {
  tokens: Int32Array; // [L]
  /** 1: trained on. */
  lossMask: Uint8Array; // [L]
}

export type TokenizeRowOptions = Partial<Pick<SFTConfig, 'maxLength' | 'truncationMode' | 'datasetTextField' | 'completionOnlyLoss'>> & { origin?: RowOrigin };

/**
 * Tokens and loss mask of a row in one of TRL's formats: text, messages, prompt and completion as text or as messages.
 *
 * - Messages go through the chat template; plain text gets the end-of-sequence token if it lacks one.
 * - The completion begins where the tokens of the prompt alone and of prompt + completion part.
 * - A row that is too long is cut; one on which nothing is left to train is null. (The first token of a sequence is predicted from nothing and
 *   never trained on.)
 *
 * @throws EspalierError `bad_data` that names file, line and field
 */
export function tokenizeRow(row: Row, tokenizer: RowTokenizer, options: TokenizeRowOptions = {}): TokenizedRow | null {
  const textField = options.datasetTextField ?? 'text';
  const named = textField === 'text' || row[textField] === undefined ? row : { ...row, text: row[textField] };
  const format = checkRow(named, ['prompt_completion', 'language_modeling'], options.origin);
  const { tokens, promptLength } = format.type === 'prompt_completion' ? promptCompletion(named, tokenizer, format.conversational) : { tokens: document(named, tokenizer), promptLength: 0 };

  const completionOnly = format.type === 'prompt_completion' && (options.completionOnlyLoss ?? true);
  const lossMask = new Uint8Array(tokens.length).fill(1);
  if (completionOnly) lossMask.fill(0, 0, promptLength);

  const maxLength = options.maxLength === undefined ? 1024 : options.maxLength;
  const start = maxLength !== null && options.truncationMode === 'keep_end' ? Math.max(tokens.length - maxLength, 0) : 0;
  const end = maxLength === null ? tokens.length : start + Math.min(maxLength, tokens.length - start);
  const cut = { tokens: tokens.slice(start, end), lossMask: lossMask.slice(start, end) };
  return cut.lossMask.indexOf(1, 1) < 0 ? null : cut;
}

function document(row: Row, tokenizer: RowTokenizer): Int32Array {
  if (row.messages === undefined) return withEos(tokenizer.encode(row.text as string), tokenizer);
  return tokenizer.encode(tokenizer.applyChatTemplate(row.messages as Message[]), { addSpecialTokens: false }); // the template writes them
}

function promptCompletion(row: Row, tokenizer: RowTokenizer, conversational: boolean): { tokens: Int32Array; promptLength: number } {
  let prompt: Int32Array;
  let tokens: Int32Array;
  if (conversational) {
    const messages = row.prompt as Message[];
    prompt = tokenizer.encode(tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true }), { addSpecialTokens: false });
    tokens = tokenizer.encode(tokenizer.applyChatTemplate([...messages, ...(row.completion as Message[])]), { addSpecialTokens: false });
  } else {
    prompt = tokenizer.encode(row.prompt as string);
    tokens = withEos(tokenizer.encode(`${row.prompt as string}${row.completion as string}`), tokenizer);
  }
  let promptLength = 0;
  while (promptLength < Math.min(prompt.length, tokens.length) && prompt[promptLength] === tokens[promptLength]) promptLength++;
  return { tokens, promptLength };
}

function withEos(tokens: Int32Array, { eosTokenId }: RowTokenizer): Int32Array {
  if (eosTokenId === undefined || eosTokenId === null || tokens[tokens.length - 1] === eosTokenId) return tokens;
  return Int32Array.from([...tokens, eosTokenId]);
}

/**
 * Rows as one ragged batch, nothing padded: every trained token is an action. The batch counts as a whole optimiser step; set `normalizer`
 * when it is a part of one.
 * @throws EspalierError `bad_data` for no rows
 */
export function packRows(rows: readonly TokenizedRow[], normalizer?: TokenBatch['normalizer']): TokenBatch {
  if (rows.length === 0) throw new EspalierError('bad_data', 'a batch of no rows has nothing to train on', { fix: 'at least one row whose completion fits `max_length`' });
  const offsets = new Int32Array(rows.length + 1);
  rows.forEach((row, i) => (offsets[i + 1] = offsets[i] + row.tokens.length));
  const tokens = new Int32Array(offsets[rows.length]);
  const actionIndex: number[] = [];
  rows.forEach((row, i) => {
    tokens.set(row.tokens, offsets[i]);
    for (let t = 1; t < row.tokens.length; t++) if (row.lossMask[t]) actionIndex.push(offsets[i] + t);
  });
  return {
    tokens,
    offsets,
    actionIndex: Int32Array.from(actionIndex),
    columns: {},
    normalizer: normalizer ?? { tokens: actionIndex.length, sequences: rows.length },
  };
}

/** The counts of some rows, as they add up in a normalizer. */
export function countRows(rows: readonly TokenizedRow[]): TokenBatch['normalizer'] {
  return { tokens: rows.reduce((n, row) => n + row.lossMask.reduce((a, b, t) => a + (t > 0 ? b : 0), 0), 0), sequences: rows.length };
}
