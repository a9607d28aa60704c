import { z } from 'zod';

export const precisionFields = {
  maxSolutionLength: z.int().min(2).default(1024).describe('longest prompt and solution together, in tokens; what is too much is cut from the left of the prompt, and a longer solution is left out'),
  gold: z.boolean().default(true).describe('weigh each token with max(p^power, floor), p being the probability that the model gives it'),
  goldPower: z.number().min(0).default(0.5).describe('power of the probability in these weights'),
  goldFloor: z.number().min(0).max(1).default(0.05).describe('least weight of a token'),
  temper: z.number().positive().default(0.2).describe('divide logits by this in training; 1: not tempered'),
  valueConditioning: z.boolean().default(true).describe('write into the prompt whether the solution is correct, and train on both kinds; without it only correct solutions are trained on'),
  valueTemplate: z.string().min(1).default('{value} solution.\n{prompt}').describe('how: {value} and {prompt} stand for the two'),
  valueCoef: z.number().min(0).default(0).describe('weight of predicting from the last state of a solution whether it is correct; 0: no head for it'),
} as const;
