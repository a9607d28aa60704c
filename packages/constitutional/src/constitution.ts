import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { EspalierError } from '@espalier/spec';
import { parseDocument } from 'yaml';
import { z } from 'zod';

const text = z.string({ error: 'must be text' }).trim().min(1, 'must not be empty');
const words = z.array(text).default([]);

const principleSchema = z
  .strictObject({
    /** Distinct among the principles; stands in every row and label that came of it. */
    id: text.regex(/^[\w.-]+$/, 'must be made of letters, digits, `-`, `_` and `.`'),
    /** Asks what of an answer offends against the principle. */
    critiqueRequest: text.optional(),
    /** Asks for the answer without that. */
    revisionRequest: text.optional(),
    /** Asks which of two answers keeps to the principle better. */
    preferenceQuestion: text.optional(),
    /** How often it is drawn, and how much it counts in an ensemble, relative to the others. */
    weight: z.number().positive().default(1),
    /** `harmless`, `helpful` … : metrics are taken by tag. */
    tags: words,
    /** Default: those of the constitution. */
    licence: text.optional(),
    source: text.optional(),
  })
  .superRefine((principle, context) => {
    if ((principle.critiqueRequest === undefined) !== (principle.revisionRequest === undefined)) {
      context.addIssue({ code: 'custom', path: [principle.critiqueRequest === undefined ? 'critiqueRequest' : 'revisionRequest'], message: 'a critique and its revision go together' });
    }
    if (principle.critiqueRequest === undefined && principle.preferenceQuestion === undefined) {
      context.addIssue({ code: 'custom', path: ['preferenceQuestion'], message: 'a principle asks for a critique and a revision, or for a preference, or for both' });
    }
  });

const critiqueExample = z.strictObject({ prompt: text, answer: text, critiqueRequest: text, critique: text, revisionRequest: text, revision: text });
const preferenceExample = z.strictObject({ prompt: text, first: text, second: text, question: text, better: z.enum(['first', 'second']), reasoning: text.optional() });

const constitutionSchema = z.strictObject({
  name: text,
  description: text.optional(),
  licence: text,
  source: text,
  principles: z.array(principleSchema).min(1, 'needs at least one principle'),
  /** Few-shot examples: what keeps a model from mistaking a critique for a revision. */
  critiqueExamples: z.array(critiqueExample).default([]),
  preferenceExamples: z.array(preferenceExample).default([]),
});

/** One rule that answers are held to. */
export type Principle = z.output<typeof principleSchema>;
export type CritiqueExample = z.output<typeof critiqueExample>;
export type PreferenceExample = z.output<typeof preferenceExample>;
/** Principles as data, with the examples that show how they are applied. */
export type Constitution = z.output<typeof constitutionSchema>;
/** As a user writes it. */
export type ConstitutionInput = z.input<typeof constitutionSchema>;

/** A principle that critiques are asked by. */
export type CritiquePrinciple = Principle & { critiqueRequest: string; revisionRequest: string };
/** A principle that preferences are asked by. */
export type PreferencePrinciple = Principle & { preferenceQuestion: string };

/**
 * Checks a constitution and fills in what it leaves out.
 * @param origin named in messages: a file
 * @throws EspalierError `bad_config` that names file, principle and field of everything that is wrong
 * @example
 * const brief = defineConstitution({ name: 'brief', licence: 'CC0-1.0', source: 'our style guide', principles: [{ id: 'short', preferenceQuestion: 'Which answer is shorter?' }] });
 */
export function defineConstitution(input: ConstitutionInput, origin = 'constitution'): Constitution {
  return checkConstitution(input, origin, (name) => name);
}

/**
 * Reads a constitution from YAML (or JSON, which is YAML). Field names are snake_case (`critique_request`) or camelCase.
 * @throws EspalierError `bad_config` that names the file, and line, or principle and field
 */
export function parseConstitution(source: string, file = 'constitution'): Constitution {
  const document = parseDocument(source);
  const [error] = document.errors;
  if (error) throw new EspalierError('bad_config', `${file}: not valid YAML: ${error.message.split('\n')[0].replace(/:$/, '')}`, { cause: error });
  return checkConstitution(camelKeys(document.toJS()), file, snakeCase);
}

/**
 * Loads a constitution from a `.yaml`, `.yml` or `.json` file.
 * @throws EspalierError `not_found`, `io`, `bad_config`
 */
export async function loadConstitution(path: string): Promise<Constitution> {
  if (!['.yaml', '.yml', '.json'].includes(extname(path).toLowerCase())) throw new EspalierError('bad_config', `${path} is not a constitution`, { fix: 'a .yaml, .yml or .json file; one in TypeScript is imported and passed as a value' });
  const source = await readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT' || cause.code === 'ENOTDIR') throw new EspalierError('not_found', `there is no constitution ${path}`, { cause });
    throw new EspalierError('io', `${path} cannot be read: ${cause.message}`, { cause });
  });
  return parseConstitution(source, path);
}

function checkConstitution(input: unknown, origin: string, spell: (field: string) => string): Constitution {
  const result = constitutionSchema.safeParse(input);
  if (!result.success) throw new EspalierError('bad_config', result.error.issues.map((issue) => describeIssue(issue, input, origin, spell)).join('; '));
  const seen = new Set<string>();
  for (const [i, { id }] of result.data.principles.entries()) {
    if (seen.has(id)) throw new EspalierError('bad_config', `${origin}: principle ${i + 1} ("${id}"): \`id\` is taken by another principle`, { fix: 'another one' });
    seen.add(id);
  }
  return result.data;
}

/** `file: principle 3 ("kind"): `critique_request`: must be text, found 4` */
function describeIssue(issue: z.core.$ZodIssue, input: unknown, origin: string, spell: (field: string) => string): string {
  const [list, index, ...rest] = issue.path;
  const nouns: Partial<Record<string, string>> = { principles: 'principle', critiqueExamples: 'critique example', preferenceExamples: 'preference example' };
  const noun = nouns[String(list)];
  const inList = noun !== undefined && typeof index === 'number';
  const item = inList ? (input as Record<string, { id?: unknown }[]>)[String(list)][index] : undefined;
  const id = typeof item?.id === 'string' ? ` ("${item.id}")` : '';
  const where = inList ? `${origin}: ${noun} ${index + 1}${id}` : origin;
  if (issue.code === 'unrecognized_keys') return `${where}: unknown field${issue.keys.length > 1 ? 's' : ''} ${issue.keys.map((key) => `\`${spell(key)}\``).join(', ')}`;
  const field = (inList ? rest : issue.path).map((key) => spell(String(key))).join('.');
  const found = issue.path.reduce<unknown>((value, key) => (typeof value === 'object' && value !== null ? (value as Record<PropertyKey, unknown>)[key] : undefined), input);
  const shown = found === undefined ? 'it is missing' : `found ${clip(JSON.stringify(found))}`;
  return `${where}: ${field === '' ? '' : `\`${field}\`: `}${issue.message}, ${shown}`;
}

const clip = (value: string) => (value.length > 60 ? `${value.slice(0, 57)}...` : value);
const snakeCase = (field: string) => field.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);

function camelKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(camelKeys);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key.replace(/_([a-z])/g, (_, c: string) => c.toUpperCase()), camelKeys(inner)]));
}

/** The principles that critiques are asked by, in their order; with `tags`, those that have one of them. */
export function critiquePrinciples(constitution: Constitution, tags?: readonly string[]): CritiquePrinciple[] {
  return chosen(constitution, tags, 'critiques', (principle): principle is CritiquePrinciple => principle.critiqueRequest !== undefined);
}

/** The principles that preferences are asked by, in their order; with `tags`, those that have one of them. */
export function preferencePrinciples(constitution: Constitution, tags?: readonly string[]): PreferencePrinciple[] {
  return chosen(constitution, tags, 'preferences', (principle): principle is PreferencePrinciple => principle.preferenceQuestion !== undefined);
}

function chosen<P extends Principle>(constitution: Constitution, tags: readonly string[] | undefined, what: string, is: (principle: Principle) => principle is P): P[] {
  const principles = constitution.principles.filter(is).filter((principle) => !tags || tags.length === 0 || principle.tags.some((tag) => tags.includes(tag)));
  if (principles.length > 0) return principles;
  const known = [...new Set(constitution.principles.flatMap((principle) => principle.tags))];
  throw new EspalierError('bad_config', `constitution "${constitution.name}" has no principle for ${what}${tags && tags.length > 0 ? ` with the tag ${tags.join(' or ')}` : ''}`, { fix: known.length > 0 ? `its tags are ${known.join(', ')}` : 'its principles have no tags' });
}

/** Tells one constitution from another: the beginning of a SHA-256 of its contents. */
export function constitutionDigest(constitution: Constitution): string {
  return createHash('sha256').update(JSON.stringify(constitution)).digest('hex').slice(0, 16);
}
