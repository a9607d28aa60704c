import type { Context } from 'hono';
import type { z } from 'zod';
import { HttpError } from './http-error';

/**
 * The JSON body of a request, checked. Fields that are `null` count as absent, as with OpenAI.
 * @throws HttpError 415 when it does not say that it is JSON, 400 naming the field that is wrong
 */
export async function readBody<T>(c: Context, schema: z.ZodType<T>): Promise<T> {
  const type = (c.req.header('content-type') ?? '').split(';')[0].trim().toLowerCase();
  if (type !== 'application/json' && !type.endsWith('+json')) throw new HttpError(415, `the body is ${type ? JSON.stringify(type.slice(0, 60)) : 'of no stated type'}; it must be application/json`);
  const bytes = await c.req.arrayBuffer();
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new HttpError(400, error instanceof SyntaxError ? `the body is not JSON: ${error.message.slice(0, 200)}` : 'the body is not UTF-8', { code: 'invalid_json' });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new HttpError(400, 'the body is not a JSON object', { code: 'invalid_json' });
  const given = Object.fromEntries(Object.entries(value).filter(([, field]) => field !== null));
  const result = schema.safeParse(given);
  if (result.success) return result.data;
  throw refusal(result.error.issues);
}

type Issue = z.core.$ZodIssue;

/** The issue that lies deepest says most: of a union's branches, the one that came furthest. */
function deepest(issues: readonly Issue[], path: readonly PropertyKey[] = []): { issue: Issue; path: readonly PropertyKey[] } {
  const all = issues.map((issue) => {
    const at = [...path, ...issue.path];
    if (issue.code !== 'invalid_union' || issue.errors.length === 0) return { issue, path: at };
    const inner = issue.errors.filter((branch) => branch.length > 0).map((branch) => deepest(branch, at));
    const best = inner.reduce((a, b) => (b.path.length > a.path.length ? b : a));
    return best.path.length > at.length ? best : { issue, path: at };
  });
  return all[0];
}

function refusal(issues: readonly Issue[]): HttpError {
  const unknown = issues.find((issue) => issue.code === 'unrecognized_keys');
  if (unknown) return new HttpError(400, `unrecognized request argument: ${unknown.keys.slice(0, 5).join(', ')}`, { param: String([...unknown.path, unknown.keys[0]].join('.')).slice(0, 200), code: 'unknown_parameter' });
  const { issue, path } = deepest(issues);
  const param = path.join('.').slice(0, 200);
  return new HttpError(400, param ? `\`${param}\`: ${issue.message}` : issue.message, { ...(param && { param }), code: 'invalid_value' });
}
