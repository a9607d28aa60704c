import { z } from 'zod';
import { corpusFields, optional } from '../corpus/fields';

export const informationGainFields = {
  ...corpusFields,
  gainTokens: z.int().positive().default(1).describe('tokens after the position whose log-prob the thought is to raise'),
  baselineDecay: z.number().min(0).lt(1).default(0.999).describe('decay of the moving average of the weights that predicts without a thought'),
  thoughtStart: z.string().min(1).default('<think>').describe('what stands between the text and the thought'),
  thoughtEnd: z.string().min(1).default('</think>').describe('what ends the thought, and is written where the thought did not end'),
  gainEpsilon: z.number().min(0).default(0.2).describe('ratios are clipped to 1 ± this'),
  gainEpsilonHigh: optional(z.number().min(0)).describe('upper clip range; default: --gain-epsilon'),
} as const;
