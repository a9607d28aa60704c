import { z } from 'zod';
import { optional } from '../corpus/fields';

export const proposerRewards = ['edge', 'zero-sum'] as const;

export const selfPlayFields = {
  selfPlayGame: z.string().min(1).default('arithmetic').describe('what is proposed: arithmetic (an expression), or task families by name, separated by + (the proposer names one and its difficulty)'),
  proposerReward: z.enum(proposerRewards).default('edge').describe('edge: 1 less the pass rate, and 0 where nobody solves it; zero-sum: the share of attempts that fail'),
  solverAttempts: z.int().min(2).default(8).describe('attempts at each problem that is proposed'),
  solverMaxLength: optional(z.int().positive()).describe('new tokens an attempt; default: --max-completion-length'),
  invalidReward: z.number().default(-0.5).describe('what a proposal earns that is no problem'),
  roleBaseline: optional(z.enum(['group', 'ema'])).describe('what rewards are compared with: others of the group, or a moving average for each role (RAE of SPIRAL); default: ema for zero-sum, else group'),
  roleBaselineDecay: z.number().min(0).lt(1).default(0.95).describe('decay of the moving averages'),
  proposerTemplate: optional(z.string().min(1)).describe("what the proposer is asked; {example} stands for a row's prompt; default: the game's"),
} as const;
