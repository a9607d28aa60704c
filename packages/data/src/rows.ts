import { EspalierError, type Message } from '@espalier/spec';
import { z } from 'zod';

/** A row of a dataset, as it stands in its file. Columns that no format knows reach the reward functions. */
export type Row = Record<string, unknown>;

/** A message of a conversation; further keys (`tool_calls`, `name` …) are kept. */
export const messageSchema = z.looseObject({ role: z.string().min(1), content: z.string() });
const messages = z.array(messageSchema).min(1);
/** Plain text, or messages. */
const content = z.union([z.string(), messages], { error: 'must be text or a list of messages { role, content }' });

/**
 * TRL's dataset types, each in its plain and its conversational form.
 * https://huggingface.co/docs/trl/dataset_formats
 */
export const rowSchemas = {
  /** A document: `text`, or `messages`. */
  language_modeling: z
    .looseObject({ text: z.string().optional(), messages: messages.optional() })
    .refine((row) => row.text !== undefined || row.messages !== undefined, { path: ['text'], error: 'a document is needed' }),
  prompt_only: z.looseObject({ prompt: content }),
  prompt_completion: z.looseObject({ prompt: content, completion: content }),
  /** Without `prompt`, the common beginning of `chosen` and `rejected` is the prompt. */
  preference: z.looseObject({ prompt: content.optional(), chosen: content, rejected: content }),
  unpaired_preference: z.looseObject({ prompt: content, completion: content, label: z.boolean() }),
  stepwise_supervision: z.looseObject({ prompt: content, completions: z.array(z.string()).min(1), labels: z.array(z.boolean()).min(1) }),
} as const;

export type RowType = keyof typeof rowSchemas;
export interface RowFormat {
  type: RowType;
  /** Messages rather than plain text. */
  conversational: boolean;
}

const contentColumns = ['prompt', 'completion', 'chosen', 'rejected', 'messages'] as const;

/** True when a column of the row is a list whose first element has a role. */
export function isConversational(row: Row): boolean {
  return contentColumns.some((name) => isMessages(row[name]));
}

const isMessages = (value: unknown): boolean => Array.isArray(value) && typeof value[0] === 'object' && value[0] !== null && 'role' in value[0];

/** The dataset type that the row's columns say; null when they say none. Columns decide alone, their contents are not looked at. */
export function detectRowType(row: Row): RowType | null {
  const has = (name: string) => row[name] !== undefined && row[name] !== null;
  if (has('chosen') && has('rejected')) return 'preference';
  if (has('prompt') && has('completions') && has('labels')) return 'stepwise_supervision';
  if (has('prompt') && has('completion')) return has('label') ? 'unpaired_preference' : 'prompt_completion';
  if (has('prompt')) return 'prompt_only';
  if (has('text') || has('messages')) return 'language_modeling';
  return null;
}

/** Where a row came from, for messages. */
export interface RowOrigin {
  file?: string;
  line?: number;
  /** From 1, where a file has no lines: Parquet, JSON arrays. */
  row?: number;
}

/** `train.jsonl:12`, `train.parquet, row 12`, or `row` when nothing is known. */
export const describeOrigin = ({ file, line, row }: RowOrigin = {}): string => (file === undefined ? 'row' : line !== undefined ? `${file}:${line}` : row !== undefined ? `${file}, row ${row}` : file);

/**
 * Checks a row against one of the types that a trainer accepts, and says what it is.
 * @param accepted in order of preference; a row with more columns than a type needs is of that type too
 * @throws EspalierError `bad_data` that names file, line and field
 *
 * @example
 * checkRow({ prompt: 'Two plus two?', answer: '4' }, ['prompt_only']); // { type: 'prompt_only', conversational: false }
 */
export function checkRow(row: Row, accepted: readonly RowType[], origin: RowOrigin = {}): RowFormat {
  const detected = detectRowType(row);
  const type = detected !== null && accepted.includes(detected) ? detected : (accepted.find((candidate) => rowSchemas[candidate].safeParse(row).success) ?? nearest(row, accepted));
  const result = rowSchemas[type].safeParse(row);
  if (!result.success) throw new EspalierError('bad_data', `${describeOrigin(origin)}: ${describeIssues(result.error, row)}`, { fix: `a ${type.replaceAll('_', ' ')} row has ${columnsOf[type]}` });
  if (type === 'stepwise_supervision') {
    const { completions, labels } = row as { completions: unknown[]; labels: unknown[] };
    if (completions.length !== labels.length) throw new EspalierError('bad_data', `${describeOrigin(origin)}: \`labels\` has ${labels.length} entries for ${completions.length} completions`, { fix: 'one a completion' });
  }
  const format = { type, conversational: isConversational(row) };
  const mixed = contentColumns.filter((name) => row[name] !== undefined && columnsOf[type].includes(name) && isMessages(row[name]) !== format.conversational);
  if (mixed.length > 0) throw new EspalierError('bad_data', `${describeOrigin(origin)}: \`${mixed[0]}\` is plain text beside columns of messages`, { fix: 'all columns as text, or all as messages' });
  return format;
}

const columnsOf: Record<RowType, string> = {
  language_modeling: '`text` or `messages`',
  prompt_only: '`prompt`',
  prompt_completion: '`prompt` and `completion`',
  preference: '`chosen` and `rejected`',
  unpaired_preference: '`prompt`, `completion` and `label`',
  stepwise_supervision: '`prompt`, `completions` and `labels`',
};

/** The accepted type that shares most columns with the row. */
function nearest(row: Row, accepted: readonly RowType[]): RowType {
  const score = (type: RowType) => Object.keys(row).filter((name) => columnsOf[type].includes(`\`${name}\``)).length;
  return [...accepted].sort((a, b) => score(b) - score(a))[0];
}

/** What is wrong with which field, and what was found there. */
export function describeIssues(error: z.ZodError, row: unknown): string {
  return error.issues
    .map((issue) => {
      const found = issue.path.reduce<unknown>((value, key) => (typeof value === 'object' && value !== null ? (value as Record<PropertyKey, unknown>)[key] : undefined), row);
      const shown = found === undefined ? 'it is missing' : `found ${clip(JSON.stringify(found))}`;
      return `\`${issue.path.map(String).join('.')}\`: ${issue.message}, ${shown}`;
    })
    .join('; ');
}

const clip = (text: string) => (text.length > 80 ? `${text.slice(0, 77)}...` : text);

/**
 * The prompt of a row: `prompt`, the messages before the last assistant turn of `messages`, or what `chosen` and `rejected` share.
 * @throws EspalierError `bad_data` when the row has none
 */
export function toPrompt(row: Row, origin: RowOrigin = {}): string | readonly Message[] {
  if (row.prompt !== undefined && row.prompt !== null) {
    checkRow({ prompt: row.prompt }, ['prompt_only'], origin);
    return row.prompt as string | Message[];
  }
  const type = detectRowType(row);
  if (type === 'preference') {
    checkRow(row, ['preference'], origin);
    return extractPrompt(row as unknown as { chosen: string | Message[]; rejected: string | Message[] }).prompt;
  }
  if (type === 'language_modeling' && row.messages !== undefined) {
    checkRow(row, ['language_modeling'], origin);
    const turns = row.messages as Message[];
    return turns[turns.length - 1].role === 'assistant' ? turns.slice(0, -1) : turns;
  }
  throw new EspalierError('bad_data', `${describeOrigin(origin)}: there is no \`prompt\``, { fix: `add one; the row has ${Object.keys(row).map((name) => `\`${name}\``).join(', ') || 'no columns'}` });
}

/**
 * Splits an implicit prompt, the common beginning of `chosen` and `rejected`, from a preference row. Text is cut where it first differs, a space
 * before that place left to the completions (TRL: `extract_prompt`).
 */
export function extractPrompt<T extends { chosen: string | readonly Message[]; rejected: string | readonly Message[] }>(row: T): T & { prompt: string | readonly Message[] } {
  const { chosen, rejected } = row;
  let same = 0;
  const equal = (i: number) => (typeof chosen === 'string' ? chosen[i] === rejected[i] : JSON.stringify(chosen[i]) === JSON.stringify(rejected[i]));
  while (same < Math.min(chosen.length, rejected.length) && equal(same)) same++;
  if (typeof chosen === 'string' && same < Math.min(chosen.length, rejected.length) && same > 0 && chosen[same - 1] === ' ') same--;
  return { ...row, prompt: chosen.slice(0, same), chosen: chosen.slice(same), rejected: rejected.slice(same) };
}

const chatmlRoles: Readonly<Record<string, string>> = { human: 'user', user: 'user', gpt: 'assistant', assistant: 'assistant', system: 'system', tool: 'tool', function_call: 'assistant', observation: 'tool' };

/**
 * A row whose messages are written as `{ from, value }` (in `conversations`, `prompt`, `completion`, `chosen`, `rejected` or `messages`) with `{ role, content }`
 * in their place; any other row as it is (TRL: `maybe_convert_to_chatml`, where roles are kept; here `human` and `gpt` become `user` and `assistant`).
 */
export function toChatml(row: Row): Row {
  const columns = ['conversations', ...contentColumns].filter((name) => isFromValue(row[name]));
  if (columns.length === 0) return row;
  const converted = Object.fromEntries(
    columns.map((name) => [
      name === 'conversations' ? 'messages' : name,
      (row[name] as { from: string; value: unknown }[]).map(({ from, value, ...rest }) => ({ ...rest, role: chatmlRoles[from] ?? from, content: value })),
    ]),
  );
  return { ...Object.fromEntries(Object.entries(row).filter(([name]) => name !== 'conversations')), ...converted };
}

const isFromValue = (value: unknown): boolean => Array.isArray(value) && typeof value[0] === 'object' && value[0] !== null && 'from' in value[0] && 'value' in value[0];

/**
 * A preference as two rows with a label, the chosen first (TRL: `unpair_preference_dataset`).
 * @throws EspalierError `bad_data` for a row that is no preference
 */
export function unpairPreference(row: Row, origin: RowOrigin = {}): [chosen: Row, rejected: Row] {
  checkRow(row, ['preference'], origin);
  const whole = row.prompt === undefined || row.prompt === null ? extractPrompt(row as unknown as { chosen: string | Message[]; rejected: string | Message[] }) : row;
  const { chosen, rejected, ...rest } = whole as Row;
  return [
    { ...rest, completion: chosen, label: true },
    { ...rest, completion: rejected, label: false },
  ];
}
