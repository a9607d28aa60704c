import { checkRptConfig, createRptTrainer, openRows, resolveRewards, rptFlatConfig, type RptFlatConfigInput } from '@espalier/pipeline';
import { evaluationMetrics } from '@espalier/trainer';
import { z } from 'zod';
import { openRegistry } from './data-fields';
import { goldOf, rewardFields, rewardMetrics } from './online-command';
import { trainCommand } from './train-command';

export const rptCommand = () =>
  trainCommand({
    name: 'rpt',
    summary: 'reinforcement pre-training: verifiable rewards on any algorithm, with KL and language-model-loss options',
    config: rptFlatConfig.shape,
    more: {
      ...rewardFields,
      algorithm: z.string().min(1).default('grpo').describe("the algorithm that updates the policy: grpo, or a plugin's"),
      lmDataset: z.string().min(1).optional().describe('rows of the language-model loss that --lm-loss-coef weighs'),
    },
    whole: ['reward', 'goldReward', 'stop'],
    rows: { accepted: ['prompt_only', 'preference', 'language_modeling'], endlessSize: Infinity },
    shown: rewardMetrics,
    notes: '--per-device-train-batch-size counts completions: 32 with --num-generations 8 are 4 prompts.',
    check: (args) => checkRptConfig(args as RptFlatConfigInput),
    async create({ values, args, model, modelArgs, train, evaluation, callbacks, trackers, signal }) {
      const registry = await openRegistry(values['plugin'] as string[] | undefined);
      const lmDataset = values['lmDataset'] === undefined ? undefined : await openRows(values['lmDataset'] as string, { accepted: ['language_modeling', 'prompt_completion'] });
      const trainer = await createRptTrainer(
        {
          model,
          rewards: await resolveRewards(values['reward'] as string[], registry),
          ...(await goldOf(values)),
          algorithm: values['algorithm'] as string,
          registry,
          trainDataset: train,
          ...(evaluation ? { evalDataset: evaluation } : {}),
          ...(lmDataset ? { lmDataset } : {}),
          evalSamples: values['evalSamples'] as number,
          callbacks,
          trackers,
          modelArgs,
          ...(values['stop'] ? { stop: values['stop'] as string[] } : {}),
          signal,
        },
        args as RptFlatConfigInput,
      );
      return { trainer, evaluate: async (onProgress) => evaluationMetrics(await trainer.evaluate({ signal, onProgress })) };
    },
  });
