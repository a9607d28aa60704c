import { Validator, type Schema } from '@cfworker/json-schema';
import { defineReward, EspalierError, type RewardFunction } from '@espalier/spec';
import type { AnswerOptions } from '../answer-rewards';
import { afterReasoning } from './final-answer';

export interface JsonOptions extends AnswerOptions {
  /** What every answer must satisfy: a JSON Schema (draft 2020-12), as an object or its text. Default: the row's. */
  schema?: Readonly<Record<string, unknown>> | boolean | string;
  /** Column of the row that holds the schema. Default `schema`. */
  schemaColumn?: string;
}

/** Beyond this, text is not parsed. */
const maxLength = 200_000;
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

function parse(text: string): { value: unknown } | null {
  try {
    return text.length > maxLength ? null : { value: JSON.parse(text) as unknown };
  } catch {
    return null;
  }
}

/** The JSON of a completion: the whole of it, or its last fenced block. Text around bare JSON makes it none. */
function givenJson(completion: string): { value: unknown } | null {
  const text = (afterReasoning(completion) ?? completion).trim();
  const fenced = [...text.matchAll(/```(?:json)?[ \t]*\n([\s\S]*?)\n?```/gi)].at(-1)?.[1];
  return parse(text) ?? (fenced === undefined ? null : parse(fenced));
}

/** Equal whatever the order of keys. */
function sameJson(a: unknown, b: unknown): boolean {
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((item, i) => sameJson(item, b[i]));
  if (isObject(a)) return isObject(b) && Object.keys(a).length === Object.keys(b).length && Object.keys(a).every((key) => Object.hasOwn(b, key) && sameJson(a[key], b[key]));
  return a === b;
}

type Check = (value: unknown) => boolean;
const types = new Set(['null', 'boolean', 'object', 'array', 'number', 'string', 'integer']);

/** Whether the keywords of a schema have the shapes that their names ask for: the validator itself takes what it does not know as satisfied. */
function isSchema(schema: unknown, depth = 0): schema is Schema | boolean {
  if (typeof schema === 'boolean') return true;
  if (!isObject(schema) || depth > 50) return false;
  const { type, required, enum: listed } = schema;
  if (type !== undefined && !(Array.isArray(type) ? type : [type]).every((name) => typeof name === 'string' && types.has(name))) return false;
  if (required !== undefined && !(Array.isArray(required) && required.every((key) => typeof key === 'string'))) return false;
  if (listed !== undefined && !Array.isArray(listed)) return false;
  for (const key of ['properties', 'patternProperties', '$defs', 'definitions', 'dependentSchemas']) if (schema[key] !== undefined && !(isObject(schema[key]) && Object.values(schema[key]).every((inner) => isSchema(inner, depth + 1)))) return false;
  for (const key of ['allOf', 'anyOf', 'oneOf', 'prefixItems']) if (schema[key] !== undefined && !(Array.isArray(schema[key]) && schema[key].every((inner) => isSchema(inner, depth + 1)))) return false;
  for (const key of ['not', 'if', 'then', 'else', 'additionalProperties', 'contains', 'propertyNames']) if (schema[key] !== undefined && !isSchema(schema[key], depth + 1)) return false;
  return schema['items'] === undefined || (Array.isArray(schema['items']) ? schema['items'] : [schema['items']]).every((inner) => isSchema(inner, depth + 1));
}

/** A check of values by a schema; null for what is none. */
function compile(given: unknown): Check | null {
  const schema = typeof given === 'string' ? parse(given)?.value : given;
  if (!isSchema(schema)) return null;
  try {
    const validator = new Validator(schema, '2020-12');
    validator.validate(null); // references that lead nowhere, patterns that are none
    return (value) => {
      try {
        return validator.validate(value).valid;
      } catch {
        return false;
      }
    };
  } catch {
    return null;
  }
}

/**
 * 1 when the completion is JSON that satisfies the schema, and equals the row's answer where it has one; else 0; null when there is neither schema nor answer, or one of
 * them cannot be read. The completion is JSON as a whole or holds it in a fenced block; keys may stand in any order.
 *
 * Schemas are JSON Schema of draft 2020-12, validated by `@cfworker/json-schema`.
 *
 * @throws EspalierError `bad_config` when `schema` is no JSON Schema
 * @example
 * const reward = jsonReward({ schema: { type: 'object', required: ['city'], properties: { city: { type: 'string' } } } });
 */
export function jsonReward(options: JsonOptions = {}): RewardFunction {
  const { column = 'answer', schemaColumn = 'schema' } = options;
  const fixed = options.schema === undefined ? undefined : compile(options.schema);
  if (fixed === null) throw new EspalierError('bad_config', '`schema` is no JSON Schema', { fix: 'an object such as { "type": "object", "required": ["city"] }, or its text' });
  return defineReward({
    name: options.name ?? 'json',
    async score(samples) {
      const compiled = new Map<unknown, Check | null>(); // rows of a group share their schema
      const checkOf = (schema: unknown) => {
        if (!compiled.has(schema)) compiled.set(schema, compile(schema));
        return compiled.get(schema)!;
      };
      return samples.map(({ completion, row }) => {
        const check = fixed ?? (row[schemaColumn] === undefined || row[schemaColumn] === null ? undefined : checkOf(row[schemaColumn]));
        const answer = row[column] === undefined || row[column] === null ? undefined : typeof row[column] === 'string' ? parse(row[column]) : { value: row[column] };
        if (check === null || answer === null || (check === undefined && answer === undefined)) return null;
        const given = givenJson(completion);
        return Number(given !== null && (check?.(given.value) ?? true) && (answer === undefined || sameJson(answer.value, given.value)));
      });
    },
  });
}
