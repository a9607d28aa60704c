import { checkRow, toChatml, type Row, type RowOrigin } from '@espalier/data';
import { EspalierError, type Message, type TokenBatch } from '@espalier/spec';
import { assistantTokens } from './assistant-mask';
import type { SFTConfig } from './config';
import type { RowTokenizer, TemplateOptions } from './row-tokenizer';

/** A row as the learner sees it: its tokens, and which of them are trained on. */
export interface TokenizedRow {
  tokens: Int32Array; // [L]
  /** 1: trained on. */
  lossMask: Uint8Array; // [L]
}

export type TokenizeRowOptions = Partial<Pick<SFTConfig, 'maxLength' | 'truncationMode' | 'datasetTextField' | 'completionOnlyLoss' | 'assistantOnlyLoss'>> & {
  /** Rows are to be packed: nothing is cut, and a row on which nothing is trained stays, as context. Default false. */
  packing?: boolean;
  origin?: RowOrigin;
  /** Told of what is odd about a row. */
  onNotice?: (name: 'prompt_not_a_prefix', message: string) => void;
};

/** Tokens, and what of them is not trained on. */
interface Encoded {
  tokens: Int32Array;
  promptLength: number;
  assistantMask?: Uint8Array;
}

/**
 * Tokens and loss mask of a row in one of TRL's formats: text, messages, prompt and completion as text or as messages, or tokens (`input_ids`, with `labels`
 * where -100 is not trained on, or with `completion_mask` and `assistant_masks`).
 *
 * - Messages go through the chat template, with the row's `tools` and `chat_template_kwargs`; plain text gets the end-of-sequence token if it lacks one.
 * - The completion begins where the tokens of the prompt alone and of prompt + completion part.
 * - `assistantOnlyLoss` counts the assistant's tokens alone (see `assistantTokens`); together with `completionOnlyLoss` both must hold.
 * - A row that is too long is cut; one on which nothing is left to train is null. (The first token of a sequence is predicted from nothing and
 *   never trained on.)
 *
 * @throws EspalierError `bad_data` that names file, line and field
 */
export function tokenizeRow(row: Row, tokenizer: RowTokenizer, options: TokenizeRowOptions = {}): TokenizedRow | null {
  const { tokens, lossMask } = row.input_ids === undefined ? tokenizeText(row, tokenizer, options) : tokenizedRow(row, options);
  if (options.packing) return tokens.length === 0 ? null : { tokens, lossMask };
  const maxLength = options.maxLength === undefined ? 1024 : options.maxLength;
  const start = maxLength !== null && options.truncationMode === 'keep_end' ? Math.max(tokens.length - maxLength, 0) : 0;
  const end = maxLength === null ? tokens.length : start + Math.min(maxLength, tokens.length - start);
  const cut = { tokens: tokens.slice(start, end), lossMask: lossMask.slice(start, end) };
  return cut.lossMask.indexOf(1, 1) < 0 ? null : cut;
}

function tokenizeText(given: Row, tokenizer: RowTokenizer, options: TokenizeRowOptions): TokenizedRow {
  const textField = options.datasetTextField ?? 'text';
  const row = toChatml(textField === 'text' || given[textField] === undefined ? given : { ...given, text: given[textField] });
  const format = checkRow(row, ['prompt_completion', 'language_modeling'], options.origin);
  const where = describeOrigin(options.origin);
  if (options.assistantOnlyLoss && !format.conversational) throw new EspalierError('bad_data', `${where}: \`assistant_only_loss\` needs messages, and this row is plain text`, { fix: 'rows with `messages`, or leave `assistant_only_loss` out' });
  const template = templateOptions(row, where);
  const { tokens, promptLength, assistantMask } = format.type === 'prompt_completion' ? promptCompletion(row, tokenizer, format.conversational, template, options) : document(row, tokenizer, template, options);
  if (assistantMask && !assistantMask.includes(1)) throw new EspalierError('bad_data', `${where}: \`assistant_only_loss\` is set, and no token of this row is the assistant's`, { fix: 'a message of role assistant; a chat template whose `{% generation %}` markers enclose it' });

  const lossMask = assistantMask?.slice() ?? new Uint8Array(tokens.length).fill(1);
  if (format.type === 'prompt_completion' && (options.completionOnlyLoss ?? true)) lossMask.fill(0, 0, promptLength);
  return { tokens, lossMask };
}

/** A row that was tokenised before. */
function tokenizedRow(row: Row, options: TokenizeRowOptions): TokenizedRow {
  const where = describeOrigin(options.origin);
  const column = (name: string, accepts: (value: unknown) => boolean, what: string): number[] | undefined => {
    const values = row[name];
    if (values === undefined || values === null) return undefined;
    if (!Array.isArray(values)) throw new EspalierError('bad_data', `${where}: \`${name}\`: must be a list of ${what}, found ${JSON.stringify(values).slice(0, 60)}`);
    const bad = values.findIndex((value) => !accepts(value));
    if (bad >= 0) throw new EspalierError('bad_data', `${where}: \`${name}\`[${bad}]: must be ${what}, found ${JSON.stringify(values[bad])}`);
    if (values.length !== (row.input_ids as unknown[]).length) throw new EspalierError('bad_data', `${where}: \`${name}\` has ${values.length} entries for ${(row.input_ids as unknown[]).length} of \`input_ids\``);
    return values as number[];
  };
  const isId = (value: unknown) => Number.isInteger(value) && (value as number) >= 0;
  const isBit = (value: unknown) => value === 0 || value === 1 || typeof value === 'boolean';
  const tokens = column('input_ids', isId, 'token ids')!;
  const labels = column('labels', (value) => isId(value) || value === -100, 'token ids, or -100');
  if (labels) {
    const other = labels.findIndex((label, i) => label !== -100 && label !== tokens[i]);
    if (other >= 0) throw new EspalierError('bad_data', `${where}: \`labels\`[${other}] is ${labels[other]}, and \`input_ids\`[${other}] is ${tokens[other]}`, { fix: 'a label is its own token (the shift to the next one is made in the loss), or -100' });
  }
  const masks = [options.completionOnlyLoss === false ? undefined : column('completion_mask', isBit, '0 or 1'), column('assistant_masks', isBit, '0 or 1')].filter((mask) => mask !== undefined);
  const lossMask = Uint8Array.from(tokens, (_, i) => (labels ? (labels[i] !== -100 ? 1 : 0) : masks.every((mask) => Boolean(mask[i])) ? 1 : 0));
  return { tokens: Int32Array.from(tokens), lossMask };
}

const describeOrigin = ({ file, line }: RowOrigin = {}) => (file === undefined ? 'row' : line === undefined ? file : `${file}:${line}`);

/** What the row's own columns add to the chat template. */
function templateOptions(row: Row, where: string): TemplateOptions {
  const tools = parsed(row.tools, 'tools', where);
  const variables = parsed(row.chat_template_kwargs, 'chat_template_kwargs', where);
  if (tools !== undefined && !Array.isArray(tools)) throw new EspalierError('bad_data', `${where}: \`tools\`: must be a list of JSON schemas`);
  if (variables !== undefined && (typeof variables !== 'object' || Array.isArray(variables))) throw new EspalierError('bad_data', `${where}: \`chat_template_kwargs\`: must be an object`);
  return { ...(tools ? { tools: tools as Record<string, unknown>[] } : {}), ...(variables ? { variables: variables as Record<string, unknown> } : {}) };
}

function parsed(value: unknown, name: string, where: string): object | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'string') return value;
  try {
    return JSON.parse(value) as object;
  } catch (cause) {
    throw new EspalierError('bad_data', `${where}: \`${name}\`: not valid JSON`, { cause });
  }
}

function document(row: Row, tokenizer: RowTokenizer, template: TemplateOptions, options: TokenizeRowOptions): Encoded {
  if (row.messages === undefined) return { tokens: withEos(tokenizer.encode(row.text as string), tokenizer), promptLength: 0 };
  return { ...conversation(row.messages as Message[], tokenizer, template, options), promptLength: 0 };
}

/** The template writes the special tokens. */
function conversation(messages: readonly Message[], tokenizer: RowTokenizer, template: TemplateOptions, options: TokenizeRowOptions): Pick<Encoded, 'tokens' | 'assistantMask'> {
  if (!options.assistantOnlyLoss) return { tokens: tokenizer.encode(tokenizer.applyChatTemplate(messages, template), { addSpecialTokens: false }) };
  const { tokens, mask } = assistantTokens(messages, tokenizer, template);
  return { tokens, assistantMask: mask };
}

function promptCompletion(row: Row, tokenizer: RowTokenizer, conversational: boolean, template: TemplateOptions, options: TokenizeRowOptions): Encoded {
  let prompt: Int32Array;
  let whole: Pick<Encoded, 'tokens' | 'assistantMask'>;
  if (conversational) {
    const messages = row.prompt as Message[];
    prompt = tokenizer.encode(tokenizer.applyChatTemplate(messages, { ...template, addGenerationPrompt: true }), { addSpecialTokens: false });
    whole = conversation([...messages, ...(row.completion as Message[])], tokenizer, template, options);
  } else {
    prompt = tokenizer.encode(row.prompt as string);
    whole = { tokens: withEos(tokenizer.encode(`${row.prompt as string}${row.completion as string}`), tokenizer) };
  }
  const { tokens } = whole;
  let promptLength = 0;
  while (promptLength < Math.min(prompt.length, tokens.length) && prompt[promptLength] === tokens[promptLength]) promptLength++;
  if (promptLength < prompt.length && !(promptLength === prompt.length - 1 && prompt[promptLength] === tokenizer.eosTokenId)) {
    const rest = tokenizer.decode ? ` (${JSON.stringify(tokenizer.decode(prompt.subarray(promptLength)))})` : '';
    options.onNotice?.('prompt_not_a_prefix', `the tokens of a prompt alone and of prompt and completion part before the prompt ends${rest}: the model is trained on a context that it will not see. Let prompts end on a token's boundary, or use a chat template that writes a prompt the same in both cases`);
  }
  return { ...whole, promptLength };
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
