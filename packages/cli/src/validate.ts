import { EspalierError } from '@espalier/spec';
import { z } from 'zod';
import { kebabCase } from './fields';

interface Issue {
  code: string;
  path: PropertyKey[];
  message: string;
  minimum?: number | bigint;
  maximum?: number | bigint;
  inclusive?: boolean;
  expected?: string;
  values?: unknown[];
  keys?: string[];
}

function whatWouldDo(issue: Issue): string {
  switch (issue.code) {
    case 'too_small':
      return issue.inclusive === false ? `it must be more than ${issue.minimum}` : `it must be at least ${issue.minimum}`;
    case 'too_big':
      return issue.inclusive === false ? `it must be less than ${issue.maximum}` : `it must be at most ${issue.maximum}`;
    case 'invalid_type':
      return issue.expected === 'int' ? 'it takes a whole number' : `it takes a ${issue.expected}`;
    case 'invalid_value':
      return `it takes ${(issue.values ?? []).length > 1 ? 'one of ' : ''}${(issue.values ?? []).join(', ')}`;
    default:
      return issue.message;
  }
}

/**
 * Checks a command's values against its schema.
 * @throws EspalierError `usage`: one line naming the first wrong flag, what was found and what would do
 */
export function validate<Schema extends z.ZodType>(schema: Schema, values: Record<string, unknown>): z.output<Schema> {
  const result = schema.safeParse(values);
  if (result.success) return result.data;
  const issue = result.error.issues[0] as unknown as Issue;
  const name = issue.path.length > 0 ? String(issue.path[0]) : (issue.keys?.[0] ?? '');
  const flag = name ? `--${kebabCase(name)}` : 'the arguments';
  const found = values[name];
  if (found === undefined && name !== '') {
    const about = (schema instanceof z.ZodObject ? (schema.shape as Record<string, z.ZodType | undefined>)[name]?.description : undefined) ?? '';
    throw new EspalierError('usage', `${flag} is missing`, { fix: about || whatWouldDo(issue) });
  }
  if (issue.code === 'custom' && issue.path.length === 0) throw new EspalierError('usage', issue.message);
  throw new EspalierError('usage', `${flag} is ${JSON.stringify(found)}`, { fix: whatWouldDo(issue) });
}
