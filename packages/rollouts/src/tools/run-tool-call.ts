import { isEspalierError } from '@espalier/spec';
import { withDeadline } from '../episodes/with-deadline';
import type { Tool, ToolContext } from './define-tool';
import type { ToolCallAttempt } from './parse-tool-calls';

export interface ToolCallLimits {
  timeoutMs: number;
  /** Characters of a result that reach the policy. */
  maxResultLength: number;
  signal?: AbortSignal | undefined;
}

/**
 * One call, answered whatever happens: an unknown tool, arguments that do not fit, an error and a time-out are results that the policy reads.
 * @throws EspalierError `aborted` when the signal fires, and nothing else
 */
export async function runToolCall(attempt: ToolCallAttempt, tools: ReadonlyMap<string, Tool>, row: ToolContext['row'], limits: ToolCallLimits): Promise<{ content: string; name?: string; failed: boolean }> {
  const { maxResultLength } = limits;
  const failure = (message: string, name?: string) => ({ content: shortened(`error: ${message}`, maxResultLength), ...(name === undefined ? {} : { name }), failed: true });
  if ('error' in attempt) return failure(attempt.error);
  const tool = tools.get(attempt.name);
  if (!tool) return failure(`there is no tool ${JSON.stringify(shortened(attempt.name, 64))}; there are: ${[...tools.keys()].join(', ')}`);
  try {
    const parsed = tool.schema.safeParse(attempt.arguments);
    if (!parsed.success) return failure(parsed.error.issues.map(({ path, message }) => (path.length > 0 ? `${path.join('.')}: ${message}` : message)).join('; '), tool.name);
    const result = await withDeadline((signal) => tool.execute(parsed.data, { signal, row }), { what: `tool "${tool.name}"`, timeoutMs: limits.timeoutMs, signal: limits.signal });
    return { content: shortened(resultText(result), maxResultLength), name: tool.name, failed: false };
  } catch (error) {
    if (limits.signal?.aborted && isEspalierError(error) && error.code === 'aborted') throw error;
    return failure(error instanceof Error ? error.message || error.name : String(error), tool.name);
  }
}

function resultText(result: unknown): string {
  if (typeof result === 'string') return result;
  return JSON.stringify(result) ?? 'null'; // undefined; cycles and bigints throw, which is a failed call
}

function shortened(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length)}… [${text.length - length} more characters]`;
}
