/** A call as it stands in a reply: read, or what is wrong with it. */
export type ToolCallAttempt = { name: string; arguments: Record<string, unknown> } | { error: string };

const opening = '<tool_call>';
const closing = '</tool_call>';

/**
 * The tool calls in a reply, whichever way its chat template taught the model to write them:
 *
 * - `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, any number of times (Hermes, Qwen, SmolLM); a last one that is not closed counts;
 * - `[TOOL_CALLS] [{"name": …, "arguments": {…}}, …]` (Mistral), and such a list as the whole reply, for the mark is a special token that texts leave out;
 * - `{"name": …, "parameters": {…}}` as the whole reply, with `<|python_tag|>` before it or not (Llama 3).
 *
 * A reply without a call gives an empty list: it is the answer.
 *
 * @example
 * parseToolCalls('<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>'); // [{ name: 'add', arguments: { a: 1, b: 2 } }]
 */
export function parseToolCalls(text: string): ToolCallAttempt[] {
  if (text.includes(opening)) return blocks(text).map(readBlock);
  const mark = text.indexOf('[TOOL_CALLS]');
  if (mark >= 0) return readList(text.slice(mark + '[TOOL_CALLS]'.length).trim(), true);
  const whole = text.trim().replace(/^<\|python_tag\|>/, '').trim();
  return /^[[{]/.test(whole) ? readList(whole, false) : [];
}

/** What stands within each pair of marks; a mark that opens ends what stands before it. */
const blocks = (text: string): string[] => text.split(opening).slice(1).map((block) => block.split(closing, 1)[0]);

function readBlock(text: string): ToolCallAttempt {
  const value = parseJson(text.trim());
  return value.ok ? readCall(value.value) : { error: `this is no JSON: ${value.message}` };
}

/** @param marked the text says that it is calls: what cannot be read is a failed call; otherwise it is an answer that happens to look alike */
function readList(text: string, marked: boolean): ToolCallAttempt[] {
  const value = parseJson(text);
  if (!value.ok) return marked ? [{ error: `this is no JSON: ${value.message}` }] : [];
  const list = Array.isArray(value.value) ? value.value : [value.value];
  if (!marked && !(list.length > 0 && list.every(looksLikeCall))) return [];
  return list.map(readCall);
}

const looksLikeCall = (value: unknown): boolean => isObject(value) && typeof value['name'] === 'string' && ('arguments' in value || 'parameters' in value);

function readCall(value: unknown): ToolCallAttempt {
  if (!isObject(value)) return { error: 'a call is a JSON object with "name" and "arguments"' };
  const call = isObject(value['function']) ? value['function'] : value; // as OpenAI's API writes it
  const { name } = call;
  if (typeof name !== 'string' || name === '') return { error: 'the call has no "name"' };
  const given = call['arguments'] ?? call['parameters'] ?? {};
  const args = typeof given === 'string' ? parseJson(given) : { ok: true as const, value: given };
  return args.ok && isObject(args.value) ? { name, arguments: args.value } : { error: `the "arguments" of ${JSON.stringify(name)} are no JSON object` };
}

function parseJson(text: string): { ok: true; value: unknown } | { ok: false; message: string } {
  try {
    return { ok: true, value: JSON.parse(text) };
  } catch (error) {
    return { ok: false, message: (error as Error).message.slice(0, 200) };
  }
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);
