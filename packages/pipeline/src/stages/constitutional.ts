import { constitutionalConfig, ConstitutionalTrainer, parseConstitutionalConfig, type ConstitutionalConfigInput, type ModelInput } from '@espalier/constitutional';
import { defineStage, EspalierError, type MetricsHandle, type PolicyHandle, type RowsHandle, type Stage } from '@espalier/spec';
import { digestPath } from '../digest';
import { withFingerprint } from '../fingerprint';
import { withPlan } from '../stage-plan';
import { openRows, rowsFingerprint } from '../rows';
import { modelArgsOf, modelOptionNames, requireOption, splitOptions, type StageModelOptions, type StageOwned } from './options';
import { metricsArtifact } from './train-stage';
import type { DatasetInput } from '@espalier/trainer';

/** The fields of `constitutionalConfig`, and where the model and the rows are. */
export type ConstitutionalStageOptions = Omit<ConstitutionalConfigInput, StageOwned | 'produce'> &
  Pick<StageModelOptions, 'backend' | 'precision' | 'samplerWeights' | 'inline'> & {
    /** Default `critique-revise` or `ai-preferences`. */
    name?: string;
    /** Rows with a prompt. */
    dataset: DatasetInput;
    /** Judges, and criticises and revises where no critic is given: a model by path or id, or a text model. Default: the policy itself. */
    judge?: ModelInput;
    /** Criticises and revises. Default: the judge. */
    critic?: ModelInput;
  };

type RowsStage = Stage<{ policy: PolicyHandle }, { rows: RowsHandle; metrics: MetricsHandle }>;
const ownNames = [...modelOptionNames, 'name', 'dataset', 'judge', 'critic'];

function constitutionalStage(kind: 'critique' | 'preferences', options: ConstitutionalStageOptions): RowsStage {
  const name = options.name ?? (kind === 'critique' ? 'critique-revise' : 'ai-preferences');
  if ('produce' in options) throw new EspalierError('bad_config', `stage "${name}": \`produce\` is set by the stage`, { fix: 'leave it out' });
  const { own, config } = splitOptions(name, options, ownNames, constitutionalConfig.shape);
  requireOption(name, own, 'dataset', 'a .jsonl file of rows with `prompt`, or rows');
  parseConstitutionalConfig(config as ConstitutionalConfigInput);
  const modelArgs = modelArgsOf(name, own);
  const { dataset, judge, critic, inline } = options;
  const stage = defineStage<{ policy: PolicyHandle }, { rows: RowsHandle; metrics: MetricsHandle }>({
    name,
    needs: ['policy'],
    gives: ['rows', 'metrics'],
    async run({ policy }, context) {
      const trainer = new ConstitutionalTrainer({
        model: policy.path,
        trainDataset: dataset,
        ...(judge === undefined ? {} : { judge }),
        ...(critic === undefined ? {} : { critic }),
        modelArgs,
        ...(inline === undefined ? {} : { inline }),
        onProgress: (_, step, total) => context.report({ stage: name, step, total, metrics: {} }),
        args: { seed: context.seed, ...(config as ConstitutionalConfigInput), outputDir: context.dir, produce: [kind] },
      });
      try {
        const { sft, preferences, metrics } = await trainer.train({ resume: context.resume, ...(context.signal ? { signal: context.signal } : {}) });
        const made = (kind === 'critique' ? sft : preferences)!;
        if (made.count === 0) throw new EspalierError('bad_data', `stage "${name}" made no rows`, { fix: `${context.dir} says why each was left out` });
        return { rows: { kind: 'rows', path: made.path, digest: await digestPath(made.path), count: made.count }, metrics: await metricsArtifact(context, metrics) };
      } finally {
        await trainer.close();
      }
    },
  });
  withPlan(stage, async () => ({ note: `makes rows of ${(await openRows(dataset, { endlessSize: Infinity })).size} prompts` }));
  const nameOf = (input: ModelInput | undefined) => (typeof input === 'object' ? input.name : input);
  return withFingerprint(stage, async () => ({ config, modelArgs, judge: nameOf(judge), ...(critic === undefined ? {} : { critic: nameOf(critic) }), rows: await rowsFingerprint(dataset) }));
}

/**
 * Critique and revision by a constitution as a stage (SL-CAI, 2212.08073 §3): the policy answers, criticises and revises; gives rows to fine-tune on.
 * @throws EspalierError `bad_config` for an unknown or wrong field, at once
 * @example
 * pipeline(startFrom('my-model'), critiqueRevise({ dataset: 'prompts.jsonl', numRevisions: 2 }), sft({ maxSteps: 100 }))
 */
export const critiqueRevise = (options: ConstitutionalStageOptions): RowsStage => constitutionalStage('critique', options);

/**
 * Preferences by a constitution as a stage (RL-CAI, 2212.08073 §4): two answers to each prompt, which the judge compares; gives rows with soft labels.
 * @throws EspalierError `bad_config` for an unknown or wrong field, at once
 * @example
 * pipeline(startFrom('my-model'), aiPreferences({ dataset: 'prompts.jsonl' }), dpo({ beta: 0.1, maxSteps: 100 }))
 */
export const aiPreferences = (options: ConstitutionalStageOptions): RowsStage => constitutionalStage('preferences', options);
