import { resolveRewards } from '@espalier/pipeline';
import { evaluationMetrics, type OnlineTrainer, type OnlineTrainerOptions } from '@espalier/trainer';
import type { RewardFunction } from '@espalier/spec';
import type { Command } from 'commander';
import { z } from 'zod';
import { openRegistry } from './data-fields';
import { trainCommand } from './train-command';

/** Flags of commands that train on rewards. */
export const rewardFields = {
  reward: z.array(z.string().min(1)).nonempty().describe('reward functions: NAME, NAME=WEIGHT or NAME:option=value,…; may be given several times'),
  goldReward: z.string().min(1).optional().describe('what the rewards stand for, as --reward takes one: scored on the same completions and never trained on; alarms tell when they part (see --on-alarm)'),
  stop: z.array(z.string().min(1)).optional().describe('text that ends a completion; may be given several times'),
  evalSamples: z.int().positive().default(1).describe('completions a held-out row: 1 is greedy, more give pass@k'),
};

/** Metrics that the progress bar of a training on rewards shows. */
export const rewardMetrics = ['reward', 'frac_reward_zero_std', 'completions/mean_length', 'kl', 'loss'];

/** `--gold-reward`, as trainers take it. */
export async function goldOf(values: Record<string, unknown>): Promise<{ goldReward?: RewardFunction }> {
  if (values['goldReward'] === undefined) return {};
  const [{ reward }] = await resolveRewards([values['goldReward'] as string], await openRegistry(values['plugin'] as string[] | undefined));
  return { goldReward: reward };
}

interface OnlineCommandSpec {
  name: string;
  summary: string;
  config: z.ZodRawShape;
  /** Flags besides those of the configuration. */
  more?: z.ZodRawShape;
  shown?: readonly string[];
  notes?: string;
  check(args: object): void;
  create(options: OnlineTrainerOptions & { args: object }, values: Record<string, unknown>): OnlineTrainer;
}

/** `espalier grpo`, `ppo`, …: a trainer on what the policy generates and reward functions score. */
export const onlineCommand = (spec: OnlineCommandSpec): Command =>
  trainCommand({
    name: spec.name,
    summary: spec.summary,
    config: spec.config,
    more: { ...rewardFields, ...spec.more },
    whole: ['reward', 'goldReward', 'stop'],
    rows: { accepted: ['prompt_only', 'preference', 'language_modeling'], endlessSize: Infinity },
    shown: spec.shown ?? rewardMetrics,
    ...(spec.notes ? { notes: spec.notes } : {}),
    check: spec.check,
    async create({ values, args, model, modelArgs, train, evaluation, callbacks, trackers, signal }) {
      const trainer = spec.create(
        {
          model,
          rewardFuncs: await resolveRewards(values['reward'] as string[], await openRegistry(values['plugin'] as string[] | undefined)),
          ...(await goldOf(values)),
          trainDataset: train,
          ...(evaluation ? { evalDataset: evaluation } : {}),
          evalSamples: values['evalSamples'] as number,
          callbacks,
          trackers,
          modelArgs,
          ...(values['stop'] ? { stop: values['stop'] as string[] } : {}),
          args,
          signal,
        },
        values,
      );
      return { trainer, evaluate: async (onProgress) => evaluationMetrics(await trainer.evaluate({ signal, onProgress })) };
    },
  });
