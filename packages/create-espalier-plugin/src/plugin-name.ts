import { EspalierError } from '@espalier/spec';

/** What a plugin and its part are called. */
export interface PluginName {
  /** `espalier-plugin-short-answers`, or `@scope/espalier-plugin-short-answers`. */
  package: string;
  /** The part's name, as in `--reward short-answers`. */
  part: string;
  /** The package without its scope: the folder. */
  folder: string;
}

const prefix = 'espalier-plugin-';
const longest = 214; // npm's own limit
const pattern = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/;
const scopePattern = /^@[a-z0-9][a-z0-9._-]*$/;

/**
 * Reads a name as it is typed: `short-answers`, `@me/short-answers`, with or without `espalier-plugin-`.
 * @throws EspalierError `usage`, with a name that would do
 * @example
 * readPluginName('@me/short-answers').package; // '@me/espalier-plugin-short-answers'
 */
export function readPluginName(typed: string): PluginName {
  const text = typed.trim();
  const slash = text.indexOf('/');
  const scope = slash < 0 ? null : text.slice(0, slash);
  const bare = text.slice(slash + 1);
  const part = bare.startsWith(prefix) ? bare.slice(prefix.length) : bare;
  if (scope !== null && !scopePattern.test(scope)) throw new EspalierError('usage', `"${text}": "${scope}" is no scope of npm`, { fix: 'such as @me/short-answers' });
  if (!pattern.test(part)) throw new EspalierError('usage', text === '' ? 'a plugin needs a name' : `"${text}" is no name for a plugin`, { fix: `lower-case letters and digits, with single hyphens between, and a letter first: ${proposal(part)}` });
  const folder = `${prefix}${part}`;
  const whole = scope === null ? folder : `${scope}/${folder}`;
  if (whole.length > longest) throw new EspalierError('usage', `"${whole.slice(0, 40)}…" has ${whole.length} characters`, { fix: `npm takes ${longest}` });
  return { package: whole, part, folder };
}

/** The nearest name that would do. */
function proposal(part: string): string {
  const close = part
    .normalize('NFKD')
    .replace(/\p{Mark}/gu, '')
    .replace(/([a-z0-9])([A-Z])/g, '$1-$2')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^[^a-z]+|-+$/g, '');
  return pattern.test(close) ? close : 'short-answers';
}

/** `short-answers` as `shortAnswers`. */
export function camelCase(part: string): string {
  return part.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** `short-answers` as `ShortAnswers`. */
export function pascalCase(part: string): string {
  return camelCase(`-${part}`);
}
