import { checkRow, extractPrompt, type Row, type RowOrigin } from '@espalier/data';
import type { ChatTemplateOptions } from '@espalier/models';
import { EspalierError, type Message } from '@espalier/spec';

type Content = string | readonly Message[];

/** What rows need of a tokenizer; that of `@espalier/models` is one. */
export interface RowTokenizer {
  encode(text: string, options?: { addSpecialTokens?: boolean }): Int32Array;
  applyChatTemplate(messages: readonly Message[], options?: ChatTemplateOptions): string;
  readonly bosTokenId?: number | null;
  readonly eosTokenId?: number | null;
}

/** A pair as the learner sees it. */
export interface PreferenceExample {
  prompt: Int32Array;
  chosen: Int32Array;
  rejected: Int32Array;
  /** What was left of the prompt before `rejected`, where cutting from the left left another part than before `chosen`. */
  rejectedPrompt?: Int32Array;
  /** Log-probs of the reference, when they were computed beforehand, a number a token. */
  refLogps?: { chosen: Float32Array; rejected: Float32Array };
  /** Column `soft_label`: probability that `chosen` is the better one. */
  softLabel?: number;
}

/** One labelled completion as the learner sees it. */
export interface UnpairedExample {
  prompt: Int32Array;
  completion: Int32Array;
  /** Desirable. */
  label: boolean;
  /** A completion of another prompt, from which the KL is estimated. */
  klCompletion?: Int32Array;
  /** It came from a row with both a chosen and a rejected completion. */
  fromPair: boolean;
  refLogps?: Float32Array;
  refKlLogp?: number;
}

export interface TokenizeOptions {
  /** Tokens that prompt and completion may have together; null: no limit. */
  maxLength: number | null;
  /** Which end of a sequence that is too long is kept. Default `keep_start`. */
  truncationMode?: 'keep_start' | 'keep_end';
  /** The beginning-of-sequence token before every prompt and the end-of-sequence token after every completion, messages included (TRL: CPO and ORPO). */
  bosAndEos?: boolean;
  /** Take the column `soft_label`. Default false. */
  softLabels?: boolean;
  origin?: RowOrigin;
}

/**
 * A preference row as tokens: `chosen` and `rejected` as text or messages, with `prompt` or with the prompt as their common beginning. A completion
 * begins where the tokens of the prompt alone and those of prompt + completion part, for both at the same place. Plain text gets the end-of-sequence token.
 *
 * @returns null when the prompt alone fills `maxLength`, or a completion has no token: nothing is left to compare
 * @throws EspalierError `bad_data` that names file, line and field
 */
export function tokenizePreference(row: Row, tokenizer: RowTokenizer, options: TokenizeOptions): PreferenceExample | null {
  const softLabel = options.softLabels ? softLabelOf(row, options.origin) : undefined;
  const example = tokenizePair(row, tokenizer, options);
  return example && softLabel !== undefined ? { ...example, softLabel } : example;
}

function softLabelOf({ soft_label: label }: Row, { file, line }: RowOrigin = {}): number | undefined {
  if (label === undefined || label === null) return undefined;
  if (typeof label === 'number' && label >= 0 && label <= 1) return label;
  const where = file === undefined ? 'row' : line === undefined ? file : `${file}:${line}`;
  throw new EspalierError('bad_data', `${where}: \`soft_label\`: must be a probability, found ${JSON.stringify(label)}`, { fix: 'a number from 0 to 1' });
}

function tokenizePair(row: Row, tokenizer: RowTokenizer, options: TokenizeOptions): PreferenceExample | null {
  const format = checkRow(row, ['preference'], options.origin);
  const explicit = row.prompt !== undefined && row.prompt !== null;
  const { prompt, chosen, rejected } = (explicit ? row : extractPrompt(row as { chosen: Content; rejected: Content } & Row)) as Record<'prompt' | 'chosen' | 'rejected', Content>;
  const tokens = tokenizeCompletions(prompt, [chosen, rejected], tokenizer, { ...options, conversational: format.conversational, row });
  const [whole, other] = tokens.completions;
  if (whole.length === 0 || other.length === 0) return null;
  const { maxLength } = options;
  if (maxLength === null) return { prompt: tokens.prompt, chosen: whole, rejected: other };
  if (options.truncationMode === 'keep_end') {
    const left = (completion: Int32Array) => {
      const cut = Math.max(tokens.prompt.length + completion.length - maxLength, 0);
      return { prompt: tokens.prompt.slice(cut), completion: completion.slice(Math.max(cut - tokens.prompt.length, 0)) };
    };
    const [a, b] = [left(whole), left(other)];
    return { prompt: a.prompt, chosen: a.completion, rejected: b.completion, ...(a.prompt.length === b.prompt.length ? {} : { rejectedPrompt: b.prompt }) };
  }
  const room = maxLength - tokens.prompt.length;
  return room <= 0 ? null : { prompt: tokens.prompt, chosen: whole.slice(0, room), rejected: other.slice(0, room) };
}

/**
 * Labelled completions of a row: one of `prompt`, `completion` and `label`; two of a preference row, the chosen one desirable.
 *
 * @returns those that `maxLength` leaves something of
 * @throws EspalierError `bad_data` that names file, line and field
 */
export function tokenizeUnpaired(row: Row, tokenizer: RowTokenizer, options: TokenizeOptions): UnpairedExample[] {
  const format = checkRow(row, ['unpaired_preference', 'preference'], options.origin);
  const examples: { prompt: Content; completion: Content; label: boolean; fromPair: boolean }[] = [];
  if (format.type === 'preference') {
    const explicit = row.prompt !== undefined && row.prompt !== null;
    const { prompt, chosen, rejected } = (explicit ? row : extractPrompt(row as { chosen: Content; rejected: Content } & Row)) as Record<'prompt' | 'chosen' | 'rejected', Content>;
    examples.push({ prompt, completion: chosen, label: true, fromPair: true }, { prompt, completion: rejected, label: false, fromPair: true });
  } else {
    examples.push({ prompt: row.prompt as Content, completion: row.completion as Content, label: row.label as boolean, fromPair: false });
  }
  return examples.flatMap(({ prompt, completion, label, fromPair }) => {
    const tokens = tokenizeCompletions(prompt, [completion], tokenizer, { ...options, conversational: format.conversational, row });
    const room = options.maxLength === null ? Infinity : options.maxLength - tokens.prompt.length;
    if (room <= 0 || tokens.completions[0].length === 0) return [];
    return [{ prompt: tokens.prompt, completion: tokens.completions[0].slice(0, room), label, fromPair }];
  });
}

/** Tokens of a prompt and of completions that follow it, which begin where the first of them parts from the prompt alone. */
function tokenizeCompletions(prompt: Content, completions: readonly Content[], tokenizer: RowTokenizer, options: { conversational: boolean; bosAndEos?: boolean; row: Row }): { prompt: Int32Array; completions: Int32Array[] } {
  let alone: Int32Array;
  let together: Int32Array[];
  if (options.conversational) {
    const template = templateOptions(options.row);
    const render = (messages: readonly Message[], addGenerationPrompt: boolean) => tokenizer.encode(tokenizer.applyChatTemplate(messages, { ...template, addGenerationPrompt }), { addSpecialTokens: false });
    const turns = prompt as readonly Message[];
    alone = turns.length > 0 ? render(turns, true) : new Int32Array(0);
    together = completions.map((completion) => render([...turns, ...(completion as readonly Message[])], false));
  } else {
    alone = tokenizer.encode(prompt as string);
    together = completions.map((completion) => withEos(tokenizer.encode(`${prompt as string}${completion as string}`), tokenizer));
  }
  if (options.bosAndEos) {
    alone = withBos(alone, tokenizer);
    together = together.map((tokens) => withEos(withBos(tokens, tokenizer), tokenizer));
  }
  const length = Math.min(...together.map((tokens) => commonLength(alone, tokens)));
  return { prompt: alone.slice(0, length), completions: together.map((tokens) => tokens.slice(length)) };
}

/** Tokens of a prompt and of the completion that follows it, as rows of preferences have them. */
export function tokenizeCompletion(prompt: Content, completion: Content, tokenizer: RowTokenizer, row: Row = {}): { prompt: Int32Array; completion: Int32Array } {
  const tokens = tokenizeCompletions(prompt, [completion], tokenizer, { conversational: typeof prompt !== 'string', row });
  return { prompt: tokens.prompt, completion: tokens.completions[0] };
}

function templateOptions(row: Row): ChatTemplateOptions {
  const tools = typeof row.tools === 'string' ? (JSON.parse(row.tools) as ChatTemplateOptions['tools']) : (row.tools as ChatTemplateOptions['tools']);
  const variables = row.chat_template_kwargs as ChatTemplateOptions['variables'];
  return { ...(tools ? { tools } : {}), ...(variables ? { variables } : {}) };
}

function commonLength(a: Int32Array, b: Int32Array): number {
  let same = 0;
  while (same < Math.min(a.length, b.length) && a[same] === b[same]) same++;
  return same;
}

function withEos(tokens: Int32Array, { eosTokenId }: RowTokenizer): Int32Array {
  if (eosTokenId === undefined || eosTokenId === null || tokens[tokens.length - 1] === eosTokenId) return tokens;
  return Int32Array.from([...tokens, eosTokenId]);
}

function withBos(tokens: Int32Array, { bosTokenId }: RowTokenizer): Int32Array {
  if (bosTokenId === undefined || bosTokenId === null || tokens[0] === bosTokenId) return tokens;
  return Int32Array.from([bosTokenId, ...tokens]);
}

/** Rows that came from pairs in TRL's order: of every 1000 pairs the chosen completions, then the rejected ones. Others stay where they are. */
export function inUnpairedOrder(examples: readonly UnpairedExample[]): UnpairedExample[] {
  if (!examples.some(({ fromPair }) => fromPair)) return [...examples];
  const ordered: UnpairedExample[] = [];
  for (let start = 0; start < examples.length; start += 2000) {
    const block = examples.slice(start, start + 2000);
    ordered.push(...block.filter(({ label }) => label), ...block.filter(({ label }) => !label));
  }
  return ordered;
}

/**
 * Gives each example the completion of the one before it in its batch, the first one that of the last (TRL): mismatched pairs from which KTO estimates
 * how far the policy has moved.
 */
export function withKlCompletions(examples: readonly UnpairedExample[], batchSize: number): UnpairedExample[] {
  return examples.map((example, i) => {
    const start = Math.floor(i / batchSize) * batchSize;
    const last = Math.min(start + batchSize, examples.length) - 1;
    return { ...example, klCompletion: examples[i === start ? last : i - 1].completion };
  });
}
