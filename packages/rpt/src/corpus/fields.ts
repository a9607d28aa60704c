import { z } from 'zod';

const count = z.int().positive();
export const optional = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined);

/** Where in a corpus is asked: for the objectives whose rows are plain text. */
export const corpusFields = {
  positionsPerText: count.default(1).describe('questions asked about each text'),
  minContext: count.default(16).describe('tokens of a text before a question, at least'),
  maxContext: count.default(512).describe('tokens of a text before a question, at most'),
} as const;

/** How a question about a corpus is put. */
export const questionFields = {
  questionFormat: z.enum(['messages', 'text']).default('messages').describe('questions as a chat message, or as plain text for a model that was only pre-trained'),
  questionTemplate: optional(z.string().min(1)).describe('the question, in place of the default; {context} stands for the text before the position'),
  endOfThinking: z.string().min(1).default('</think>').describe('what ends the thought; the answer is looked for behind it'),
} as const;
