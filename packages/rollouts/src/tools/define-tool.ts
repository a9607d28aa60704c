import { EspalierError, type ToolDescription } from '@espalier/spec';
import { z } from 'zod';

/** What a call of a tool is told besides its arguments. */
export interface ToolContext {
  /** Fires when the call takes too long, or the run is stopped. */
  signal: AbortSignal;
  /** The row of the dataset that the episode began with. */
  row: Readonly<Record<string, unknown>>;
}

/** A typed function that the policy may call. */
export interface Tool<Parameters extends z.ZodObject = z.ZodObject> extends ToolDescription {
  /** Checks the arguments of a call. */
  schema: Parameters;
  /** Text goes to the policy as it is, anything else as JSON. */
  execute(args: z.output<Parameters>, context: ToolContext): unknown;
}

/**
 * A tool: its JSON schema derives from the zod schema of its parameters, whose descriptions the policy reads.
 *
 * @throws EspalierError `bad_config` for a name that no call could say, no description, or parameters that JSON schema cannot say
 *
 * @example
 * const add = defineTool({
 *   name: 'add',
 *   description: 'Adds two numbers.',
 *   parameters: z.object({ a: z.number(), b: z.number() }),
 *   execute: ({ a, b }) => a + b,
 * });
 */
export function defineTool<Parameters extends z.ZodObject>(tool: { name: string; description: string; parameters: Parameters; execute: Tool<Parameters>['execute'] }): Tool<Parameters> {
  const { name, description, parameters: schema, execute } = tool;
  if (!/^[A-Za-z_][\w.-]{0,63}$/.test(name)) throw new EspalierError('bad_config', `the name of a tool is ${JSON.stringify(name)}`, { fix: 'a letter, then at most 63 letters, digits, _, - or .' });
  if (description.trim() === '') throw new EspalierError('bad_config', `tool "${name}" has no description`, { fix: 'say what it does: it is all that the policy knows of it' });
  if (!(schema instanceof z.ZodObject) && (schema as { def?: { type?: string } } | undefined)?.def?.type !== 'object') throw new EspalierError('bad_config', `the parameters of tool "${name}" are no zod object`, { fix: 'z.object({ … })' });
  let parameters: Record<string, unknown>;
  try {
    const { $schema: _, ...json } = z.toJSONSchema(schema, { io: 'input' }) as Record<string, unknown>;
    parameters = json;
  } catch (error) {
    throw new EspalierError('bad_config', `the parameters of tool "${name}" have no JSON schema: ${(error as Error).message}`, { fix: 'leave out dates, functions and transforms of them', cause: error });
  }
  return { name, description, parameters, schema, execute };
}
