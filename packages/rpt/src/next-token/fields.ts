import { z } from 'zod';
import { corpusFields, optional, questionFields } from '../corpus/fields';

/** How a prediction is paid: Dong et al. 2025 (2506.08007), §3.1 and appendix A. */
export const predictionRewards = ['prefix', 'first-token', 'dense', 'dense-if-correct'] as const;
export type PredictionReward = (typeof predictionRewards)[number];

export const nextTokenFields = {
  ...corpusFields,
  ...questionFields,
  predictionHorizon: z.int().positive().default(8).describe('tokens of the true continuation that a prediction may cover'),
  predictionReward: z.enum(predictionRewards).default('prefix').describe('1 for whole tokens of the true continuation (prefix); for its first token; or dense: a wrong one earns the probability that a model without a thought gives it, always or only in groups with a right one'),
  predictionFormat: z.enum(['boxed', 'text']).default('boxed').describe('where the prediction stands: in the last \\boxed{…}, or all of the answer'),
  minEntropy: optional(z.number().min(0)).describe('ask only where the next token is hard: entropy over the likeliest tokens of the proxy of at least this, in nats; default: everywhere'),
  entropyTopK: z.int().min(2).default(16).describe('tokens that this entropy is over'),
  entropyProxy: optional(z.string().min(1)).describe('the proxy: a folder, a file or a hub id; default: the first weights of the model itself'),
} as const;
