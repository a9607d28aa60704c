import { resolveRewards } from '@espalier/pipeline';
import { GRPOTrainer, grpoConfig, parseGRPOConfig, type GRPOConfigInput } from '@espalier/grpo';
import { evaluationMetrics } from '@espalier/trainer';
import { z } from 'zod';
import { openRegistry } from './data-fields';
import { trainCommand } from './train-command';

/** Flags of commands that train on rewards. */
export const rewardFields = {
  reward: z.array(z.string().min(1)).nonempty().describe('reward functions: NAME, NAME=WEIGHT or NAME:option=value,…; may be given several times'),
  stop: z.array(z.string().min(1)).optional().describe('text that ends a completion; may be given several times'),
  evalSamples: z.int().positive().default(1).describe('completions a held-out row: 1 is greedy, more give pass@k'),
};

/** Metrics that the progress bar of a training on rewards shows. */
export const rewardMetrics = ['reward', 'frac_reward_zero_std', 'completions/mean_length', 'kl', 'loss'];

export const grpoCommand = () =>
  trainCommand({
    name: 'grpo',
    summary: 'group-relative policy optimisation on rewards',
    config: grpoConfig.shape,
    more: rewardFields,
    whole: ['reward', 'stop'],
    rows: { accepted: ['prompt_only', 'preference', 'language_modeling'], endlessSize: Infinity },
    shown: rewardMetrics,
    notes: '--per-device-train-batch-size counts completions: 32 with --num-generations 8 are 4 prompts.',
    check: (args) => void parseGRPOConfig(args as GRPOConfigInput),
    async create({ values, args, model, modelArgs, train, evaluation, callbacks, signal }) {
      const rewardFuncs = await resolveRewards(values['reward'] as string[], await openRegistry(values['plugin'] as string[] | undefined));
      const trainer = new GRPOTrainer({
        model,
        rewardFuncs,
        trainDataset: train,
        ...(evaluation ? { evalDataset: evaluation } : {}),
        evalSamples: values['evalSamples'] as number,
        callbacks,
        modelArgs,
        ...(values['stop'] ? { stop: values['stop'] as string[] } : {}),
        args: args as GRPOConfigInput,
        signal,
      });
      return { trainer, evaluate: async (onProgress) => evaluationMetrics(await trainer.evaluate({ signal, onProgress })) };
    },
  });
