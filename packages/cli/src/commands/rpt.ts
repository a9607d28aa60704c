import { isCurriculumRef } from '@espalier/data';
import { checkRptConfig, createRptTrainer, openRows, resolveEnvironment, resolveRewards, rptAlgorithmNames, rptFlatConfig, type RptFlatConfigInput } from '@espalier/pipeline';
import { objectiveNamed, rptObjectives } from '@espalier/rpt';
import { EspalierError } from '@espalier/spec';
import { z } from 'zod';
import { openRegistry } from './data-fields';
import { goldOf, rewardFields, rewardMetrics } from './online-command';
import { trainCommand } from './train-command';

const names = rptObjectives.map(({ name }) => name) as [string, ...string[]];

/** Flags that are checked with the fields of the run, though they are none of its. */
const own = {
  algorithm: z.string().min(1).optional().describe(`the algorithm that updates the policy: ${rptAlgorithmNames.join(', ')}, or a plugin's; default: grpo, or the objective's own`),
} as const;

/** @throws EspalierError `usage` when the objective needs rewards that are missing, or has no use for those given */
function checkRewards(name: string, { reward, environment }: { reward?: string[]; environment?: string }): void {
  const { takes } = objectiveNamed(name);
  if (takes.rewards === 'required' && reward === undefined && environment === undefined) throw new EspalierError('usage', '--reward is missing', { fix: 'give at least one, such as --reward numeric; or an --environment, which says itself what is earned' });
  if (takes.rewards === 'never' && reward !== undefined) throw new EspalierError('usage', `--reward is given, and objective ${name} has no use for rewards`, { fix: 'leave it out' });
}

export const rptCommand = () =>
  trainCommand({
    name: 'rpt',
    summary: 'reinforcement pre-training: verifiable rewards, or a corpus that is thought about, with any algorithm',
    config: { ...own, ...rptFlatConfig.shape, objective: z.enum(names).default('verifiable').describe(`what is trained on: ${rptObjectives.map(({ name, summary }) => `${name}, ${summary}`).join('; ')}`) },
    more: { ...rewardFields, lmDataset: z.string().min(1).optional().describe('rows of the language-model loss that --lm-loss-coef weighs') },
    whole: ['reward', 'goldReward', 'environment', 'stop', 'questionTemplate', 'middleTemplate', 'valueTemplate'],
    rows: { accepted: ['prompt_only', 'preference', 'language_modeling'], endlessSize: Infinity },
    curricula: true,
    shown: rewardMetrics,
    notes: '--per-device-train-batch-size counts completions: 32 with --num-generations 8 are 4 prompts. Rows have `prompt`; those of a corpus `text`; those of objective precision `prompt`, `completion` and `correct`. --dataset curriculum:families=arithmetic|count_letters,difficulties=1|2|3 draws problems that the policy passes sometimes.',
    check: ({ algorithm, ...config }) => checkRptConfig(config as RptFlatConfigInput, algorithm as string | undefined),
    async create({ values, args, model, modelArgs, train, evaluation, callbacks, trackers, signal }) {
      const { algorithm, ...config } = args as { algorithm?: string; objective: string };
      const { reward, environment, dataset } = values as { reward?: string[]; environment?: string; dataset?: string };
      checkRewards(config.objective, { reward, environment });
      const registry = await openRegistry(values['plugin'] as string[] | undefined);
      const lmDataset = values['lmDataset'] === undefined ? undefined : await openRows(values['lmDataset'] as string, { accepted: ['language_modeling', 'prompt_completion'] });
      const trainer = await createRptTrainer(
        {
          model,
          rewards: await resolveRewards(reward ?? [], registry),
          ...(environment === undefined ? {} : { environment: await resolveEnvironment(environment, registry) }),
          ...(await goldOf(values)),
          ...(algorithm === undefined ? {} : { algorithm }),
          registry,
          trainDataset: typeof dataset === 'string' && isCurriculumRef(dataset) ? dataset : train,
          ...(evaluation ? { evalDataset: evaluation } : {}),
          ...(lmDataset ? { lmDataset } : {}),
          evalSamples: values['evalSamples'] as number,
          callbacks,
          trackers,
          modelArgs,
          ...(values['stop'] ? { stop: values['stop'] as string[] } : {}),
          signal,
        },
        config as RptFlatConfigInput,
      );
      return { trainer, evaluate: (onProgress) => trainer.evaluateMetrics({ signal, onProgress }) };
    },
  });
