import { resolveEnvironment, resolveRewards, type Registry } from '@espalier/pipeline';
import { EspalierError, type RewardFunction } from '@espalier/spec';
import { evaluationMetrics, type EnvironmentOptions, type OnlineTrainer, type OnlineTrainerOptions, type WeightedReward } from '@espalier/trainer';
import type { Command } from 'commander';
import { z } from 'zod';
import { openRegistry } from './data-fields';
import { trainCommand } from './train-command';

/** Flags of commands that train on rewards. */
export const rewardFields = {
  reward: z.array(z.string().min(1)).nonempty().optional().describe('reward functions: NAME, NAME=WEIGHT or NAME:option=value,…; may be given several times; needed but with --environment'),
  environment: z.string().min(1).optional().describe("what episodes of several turns run in: guess:max=20, calculator, a plugin's, or a module such as ./game.ts; rows are then what it begins with, and may be left out"),
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

/**
 * `--reward` and `--environment`, as trainers take them.
 * @throws EspalierError `usage` when both are missing
 */
export async function earningsOf(values: Record<string, unknown>, registry: Registry): Promise<{ rewardFuncs: WeightedReward[] } & EnvironmentOptions> {
  const { reward, environment } = values as { reward?: string[]; environment?: string };
  if (reward === undefined && environment === undefined) throw new EspalierError('usage', '--reward is missing', { fix: 'give at least one, such as --reward numeric; or an --environment, which says itself what is earned' });
  return { rewardFuncs: await resolveRewards(reward ?? [], registry), ...(environment === undefined ? {} : { environment: await resolveEnvironment(environment, registry) }) };
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
    whole: ['reward', 'goldReward', 'environment', 'stop'],
    rows: { accepted: ['prompt_only', 'preference', 'language_modeling'], endlessSize: Infinity },
    shown: spec.shown ?? rewardMetrics,
    ...(spec.notes ? { notes: spec.notes } : {}),
    check: spec.check,
    async create({ values, args, model, modelArgs, train, evaluation, callbacks, trackers, signal }) {
      const trainer = spec.create(
        {
          model,
          ...(await earningsOf(values, await openRegistry(values['plugin'] as string[] | undefined))),
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
