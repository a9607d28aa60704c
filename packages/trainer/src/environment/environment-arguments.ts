import { z } from 'zod';

const optional = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined);

/** The fields that an environment adds to generation. */
export const environmentFields = {
  /** Replies an episode: one more than TRL's `max_tool_calling_iterations`. `maxCompletionLength` bounds what an episode holds beyond its beginning. Default: 10. */
  maxTurns: optional(z.int().positive()),
  /** New tokens a reply. Default: what is left of `maxCompletionLength`. */
  maxTurnTokens: optional(z.int().positive()),
  /** Seconds that a call of an environment may take, before its episode ends as failed. Default: 60. */
  environmentTimeout: optional(z.number().positive()),
  /** Calls of environments under way at once. Default: 64. */
  environmentConcurrency: optional(z.int().positive()),
} as const;

export type EnvironmentArguments = { [Name in keyof typeof environmentFields]?: number | undefined };
