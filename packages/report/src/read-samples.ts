import type { Json, SamplesData } from './page-data';
import { numberOf, textOf } from './read-json';
import { readJsonLines } from './read-lines';
import { SampleWindow } from './sample-window';

/** Samples that a page holds. Of more, whole steps are kept, evenly spread. */
export const sampleLimit = 5000;
/** Characters of one prompt or completion. */
const textLimit = 20_000;

/** Fields of a record that have columns of their own. */
const known = new Set(['step', 'prompt', 'completion', 'reward', 'advantage', 'tokens', 'finish_reason', 'finishReason', 'token_lengths', 'logps', 'advantages']);

/** `samples.jsonl` in columns; null when there are no samples. */
export async function readSamples(path: string): Promise<{ samples: SamplesData | null; problem: string | null }> {
  const window = new SampleWindow<Record<string, unknown>>(sampleLimit);
  const { records, problem } = await readJsonLines(path, 'samples.jsonl', (record) => window.add(numberOf(record['step']), record));
  return { samples: records === 0 ? null : inColumns(window.records(), records), problem };
}

function inColumns(records: readonly Record<string, unknown>[], total: number): SamplesData {
  const prompts: Json[] = [];
  const places = new Map<string, number>();
  const prompt = records.map((record) => {
    const value = promptOf(record['prompt']);
    const key = JSON.stringify(value);
    let place = places.get(key);
    if (place === undefined) {
      places.set(key, (place = prompts.length));
      prompts.push(value);
    }
    return place;
  });
  return {
    total,
    prompts,
    prompt,
    step: records.map((record) => numberOf(record['step'])),
    completion: records.map((record) => shortened(asText(record['completion']))),
    reward: records.map((record) => rounded(record['reward'])),
    advantage: records.map((record) => rounded(record['advantage'])),
    tokens: records.map((record) => numberOf(record['tokens'])),
    finish: records.map((record) => textOf(record['finish_reason'] ?? record['finishReason'])),
    more: records.map((record) => Object.fromEntries(Object.entries(record).flatMap(([name, value]) => (known.has(name) ? [] : [[name, tidy(value as Json)]])))),
    tokenLengths: records.map((record) => numbers(record['token_lengths'])),
    logps: records.map((record) => numbers(record['logps'])),
    tokenAdvantages: records.map((record) => numbers(record['advantages'])),
  };
}

/** Text, or the messages of a conversation. */
function promptOf(value: unknown): Json {
  if (!Array.isArray(value)) return shortened(asText(value));
  return value.map((message: unknown): Json => {
    if (typeof message !== 'object' || message === null || !('content' in message)) return { role: '', content: shortened(asText(message)) };
    const { role, content } = message as { role?: unknown; content: unknown };
    return { role: textOf(role) ?? '', content: shortened(asText(content)) };
  });
}

const asText = (value: unknown): string => (typeof value === 'string' ? value : value === undefined ? '' : JSON.stringify(value));

function shortened(text: string): string {
  return text.length <= textLimit ? text : `${text.slice(0, textLimit)} … (${text.length - textLimit} more characters)`;
}

/** Six digits are enough to read. */
function rounded(value: unknown): number | null {
  const number = numberOf(value);
  return number === null ? null : Number(number.toPrecision(6));
}

function tidy(value: Json, depth = 0): Json {
  if (typeof value === 'number') return rounded(value);
  if (typeof value === 'string') return shortened(value);
  if (typeof value !== 'object' || value === null) return value;
  if (depth > 4) return '…';
  if (Array.isArray(value)) return value.slice(0, 200).map((item: Json) => tidy(item, depth + 1));
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, tidy(item as Json, depth + 1)]));
}

function numbers(value: unknown): number[] | null {
  if (!Array.isArray(value) || value.length === 0 || value.length > textLimit) return null;
  return value.map((item: unknown) => numberOf(item) ?? 0);
}
