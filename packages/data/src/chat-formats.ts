import { EspalierError } from '@espalier/spec';
import { describeOrigin, detectRowType, toChatml, type Row, type RowOrigin } from './rows';

export const chatFormats = ['sharegpt', 'chatml', 'alpaca'] as const;
/**
 * How others write conversations: `sharegpt`: `{ from, value }` in `conversations` (or in TRL's columns); `chatml`: `{ role, content }` under another name
 * than `messages`; `alpaca`: `instruction`, `input`, `output`.
 */
export type ChatFormat = (typeof chatFormats)[number];

const otherNames = ['conversations', 'conversation', 'dialogue', 'dialog'] as const;
const columns = [...otherNames, 'messages', 'prompt', 'completion', 'chosen', 'rejected'] as const;
const firstKeys = (value: unknown): readonly string[] => (Array.isArray(value) && typeof value[0] === 'object' && value[0] !== null ? Object.keys(value[0]) : []);
const hasText = (value: unknown): value is string => typeof value === 'string' && value !== '';

/**
 * Which of the formats a row is written in; null when it is in TRL's already, or in none that is known. Columns that TRL knows go first: a row with `text`
 * beside `instruction` and `output` is a text.
 *
 * @example
 * detectChatFormat({ instruction: 'Add.', input: '2 3', output: '5' }); // 'alpaca'
 */
export function detectChatFormat(row: Row): ChatFormat | null {
  if (columns.some((name) => firstKeys(row[name]).includes('from') && firstKeys(row[name]).includes('value'))) return 'sharegpt';
  if (detectRowType(row) !== null) return null;
  if (otherNames.some((name) => firstKeys(row[name]).includes('role') && firstKeys(row[name]).includes('content'))) return 'chatml';
  if (typeof row.instruction === 'string' && typeof row.output === 'string') return 'alpaca';
  return null;
}

/**
 * A row of another format with TRL's columns in the place of its own; columns that the format does not know are kept, roles of tools and their results too.
 *
 * - `sharegpt`, `chatml`: `messages`; a column `system` becomes the first message where there is none. `human`, `gpt`, `function_call` and `observation` become
 *   `user`, `assistant`, `assistant` and `tool`; other roles stay. Keys of a message that are null (columns of Parquet files) are left out; content that is null
 *   (a call of tools) is empty text.
 * - `alpaca`: `prompt` (`system`, turns of `history`, then instruction and input, a line break between them, as LLaMA-Factory joins them) and `completion`.
 *
 * @throws EspalierError `bad_data` when the row is not of that format
 * @example
 * toTrlRow({ instruction: 'Add.', input: '2 3', output: '5' }, 'alpaca');
 * // { prompt: [{ role: 'user', content: 'Add.\n2 3' }], completion: [{ role: 'assistant', content: '5' }] }
 */
export function toTrlRow(row: Row, format: ChatFormat, origin: RowOrigin = {}): Row {
  if (format === 'alpaca') return fromAlpaca(row, origin);
  const { system, ...rest } = format === 'sharegpt' ? toChatml(row) : { ...row };
  const from = otherNames.find((name) => firstKeys(rest[name]).includes('role') || (format === 'sharegpt' && firstKeys(rest[name]).includes('from')));
  const found = from === undefined ? rest : toChatml({ ...without(rest, from), conversations: rest[from] });
  if (from !== undefined && found.conversations !== undefined) {
    found.messages = found.conversations;
    delete found.conversations;
  }
  let isChat = false;
  for (const name of ['messages', 'prompt', 'completion', 'chosen', 'rejected'] as const) {
    if (!firstKeys(found[name]).includes('role')) continue;
    isChat = true;
    found[name] = (found[name] as Row[]).map(tidy);
  }
  if (!isChat) throw new EspalierError('bad_data', `${describeOrigin(origin)}: no column holds ${format === 'sharegpt' ? 'messages { from, value }' : 'messages { role, content }'}`, { fix: `the row has ${Object.keys(row).map((name) => `\`${name}\``).join(', ') || 'no columns'}` });
  const opening = (['messages', 'prompt'] as const).find((name) => firstKeys(found[name]).includes('role'));
  if (!hasText(system) || opening === undefined) return system === undefined || system === null || system === '' ? found : { ...found, system };
  const messages = found[opening] as Row[];
  return { ...found, [opening]: messages[0].role === 'system' ? messages : [{ role: 'system', content: system }, ...messages] };
}

const without = (row: Row, name: string): Row => Object.fromEntries(Object.entries(row).filter(([key]) => key !== name));
const tidy = (message: Row): Row => ({ ...Object.fromEntries(Object.entries(message).filter(([, value]) => value !== null && value !== undefined)), content: message.content ?? '' });

function fromAlpaca(row: Row, origin: RowOrigin): Row {
  const { instruction, input, output, system, history, ...rest } = row;
  const wrong = (['instruction', 'output'] as const).find((name) => typeof row[name] !== 'string');
  if (wrong) throw new EspalierError('bad_data', `${describeOrigin(origin)}: \`${wrong}\`: must be text, ${row[wrong] === undefined ? 'it is missing' : `found ${JSON.stringify(row[wrong]).slice(0, 80)}`}`, { fix: 'an Alpaca row has `instruction` and `output`, and may have `input`' });
  const turns = (Array.isArray(history) ? history : []).flatMap((pair: unknown) => (Array.isArray(pair) ? [{ role: 'user', content: String(pair[0]) }, { role: 'assistant', content: String(pair[1]) }] : []));
  return {
    ...rest,
    prompt: [...(hasText(system) ? [{ role: 'system', content: system }] : []), ...turns, { role: 'user', content: hasText(input) ? `${instruction as string}\n${input}` : (instruction as string) }],
    completion: [{ role: 'assistant', content: output }],
  };
}

/**
 * A text in ChatML (`<|im_start|>role … <|im_end|>`) as messages; what stands outside of the markers is left out. null when it has none.
 * @example
 * parseChatml('<|im_start|>user\nHi<|im_end|>\n'); // [{ role: 'user', content: 'Hi' }]
 */
export function parseChatml(text: string): { role: string; content: string }[] | null {
  const messages = [...text.matchAll(/<\|im_start\|>([^\n<]+)\n([\s\S]*?)<\|im_end\|>/g)].map(([, role, content]) => ({ role: role.trim(), content }));
  return messages.length > 0 ? messages : null;
}
