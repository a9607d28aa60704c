import { EspalierError } from '@espalier/spec';
import type { Field, ValueKind } from './fields';

const numberPattern = /^[-+]?(\d+(_\d+)*\.?\d*|\.\d+)(e[-+]?\d+)?$/i;

/** The number that a text writes out in full (`8`, `5e-6`, `1_000`); null for anything else. */
export function readNumber(text: string): number | null {
  const trimmed = text.trim();
  if (!numberPattern.test(trimmed)) return null;
  const value = Number(trimmed.replaceAll('_', ''));
  return Number.isFinite(value) ? value : null;
}

function readBoolean(text: string): boolean | null {
  const lower = text.trim().toLowerCase();
  return lower === 'true' || lower === 'yes' || lower === '1' ? true : lower === 'false' || lower === 'no' || lower === '0' ? false : null;
}

function example(field: Field): string {
  if (field.choices) return `one of ${field.choices.join(', ')}`;
  const kind = field.kinds[0];
  if (kind === 'boolean') return 'true or false';
  if (kind === 'number') return typeof field.default === 'number' ? `a number such as ${field.default}` : 'a number';
  if (kind === 'object') return 'a JSON object such as {"key": 1}';
  return 'text';
}

function readOne(text: string, kinds: readonly ValueKind[]): unknown {
  if (kinds.includes('boolean')) {
    const value = readBoolean(text);
    if (value !== null && !(kinds.includes('number') && /^[01]$/.test(text.trim()))) return value;
  }
  if (kinds.includes('number')) {
    const value = readNumber(text);
    if (value !== null) return value;
  }
  if (kinds.includes('object') && text.trim().startsWith('{')) {
    try {
      return JSON.parse(text);
    } catch {
      return undefined;
    }
  }
  return kinds.includes('string') ? text : undefined;
}

/**
 * A flag's text (or texts, where it was given several times) as the value that its field takes.
 * @throws EspalierError `usage` naming the flag, what was found and what would do
 */
export function readValue(field: Field, given: string | boolean | readonly string[], where: string = field.flag): unknown {
  if (typeof given === 'boolean') return given;
  const texts = typeof given === 'string' ? [given] : given;
  const wrong = (text: string): never => {
    throw new EspalierError('usage', `${where} is ${JSON.stringify(text)}`, { fix: `it takes ${example(field)}` });
  };
  if (field.kinds.includes('array')) {
    const parts = texts.flatMap((text) => text.split(',')).map((part) => part.trim()).filter((part) => part !== '');
    if (parts.length > 1 || !field.kinds.some((kind) => kind !== 'array')) {
      return parts.map((part) => {
        const value = readOne(part, field.items);
        return value === undefined || (field.choices && !field.choices.includes(part)) ? wrong(part) : value;
      });
    }
  }
  const text = texts[texts.length - 1];
  const value = readOne(text, field.kinds.filter((kind) => kind !== 'array'));
  if (value === undefined) return wrong(text);
  if (field.choices && typeof value === 'string' && !field.choices.includes(value)) return wrong(text);
  return value;
}
