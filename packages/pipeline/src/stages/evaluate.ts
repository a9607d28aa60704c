import { join } from 'node:path';
import { defineStage, EspalierError, type Metrics, type MetricsHandle, type PolicyHandle, type SamplingOptions, type Stage } from '@espalier/spec';
import { writeFileDurably } from '@espalier/spec/files';
import { evaluationMetrics, type DatasetInput } from '@espalier/trainer';
import { evaluatePolicy, perplexityOf } from '../evaluate-policy';
import { withFingerprint } from '../fingerprint';
import { withPlan } from '../stage-plan';
import type { Registry } from '../registry';
import type { CheckedOptions, StageName } from '../checked-options';
import type { RewardOption } from '../reward-types';
import { checkRewards, resolveRewards, rewardFingerprint, type RewardInput } from '../rewards';
import { openRows, rowsFingerprint } from '../rows';
import { modelArgsOf, modelOptionNames, splitOptions, type StageModelOptions } from './options';
import { metricsArtifact } from './train-stage';

export interface EvaluateStageOptions extends Pick<StageModelOptions, 'backend' | 'precision' | 'inline'>, Omit<SamplingOptions, 'maxNewTokens'> {
  /** Default `evaluate`. */
  name?: string;
  /** Rows with `prompt`, scored by `reward`. */
  dataset?: DatasetInput;
  reward?: RewardOption | readonly RewardOption[];
  /** The first rows alone. A task without an end takes 512. */
  limit?: number;
  /** Completions a row. Default 1: greedy. */
  samples?: number;
  /** Longest completion in tokens. Default: 256, or half of the model's positions. */
  maxCompletionLength?: number;
  /** Texts whose perplexity is measured. */
  texts?: readonly string[];
  seed?: number;
  registry?: Registry;
}

const samplingNames = ['minNewTokens', 'temperature', 'topK', 'topP', 'minP', 'repetitionPenalty', 'stop', 'stopTokens', 'ignoreEos'] as const;
const ownNames = [...modelOptionNames, ...samplingNames, 'name', 'dataset', 'reward', 'limit', 'samples', 'maxCompletionLength', 'texts', 'seed', 'registry'];

/**
 * Measures a policy as a stage: mean rewards, accuracy and pass@k on rows, perplexity on texts. The policy goes on as it is.
 * @throws EspalierError `bad_config` for an unknown field, or nothing to measure, at once
 * @example
 * evaluate({ dataset: 'held-out.jsonl', reward: 'numeric', maxCompletionLength: 24 })
 */
export function evaluate<const Options extends EvaluateStageOptions>(given: CheckedOptions<Options, EvaluateStageOptions>): Stage<{ policy: PolicyHandle }, { metrics: MetricsHandle }, StageName<Options, 'evaluate'>> {
  const options = given as EvaluateStageOptions;
  const name = options.name ?? 'evaluate';
  const { own } = splitOptions(name, options, ownNames, {});
  const { dataset, texts, registry } = options;
  const rewards: readonly RewardInput[] = options.reward === undefined ? [] : Array.isArray(options.reward) ? (options.reward as readonly RewardInput[]) : [options.reward as RewardInput];
  if (dataset === undefined && texts === undefined) throw new EspalierError('bad_config', `stage "${name}" has nothing to measure on`, { fix: 'give `dataset` and `reward`, or `texts`' });
  if ((dataset === undefined) !== (rewards.length === 0)) throw new EspalierError('bad_config', `stage "${name}": \`${dataset === undefined ? 'dataset' : 'reward'}\` is missing`, { fix: '`dataset` and `reward` go together' });
  checkRewards(rewards, registry);
  const { backend, bf16 } = modelArgsOf(name, own);
  const sampling: SamplingOptions = {
    ...Object.fromEntries(samplingNames.map((key) => [key, own[key]]).filter(([, value]) => value !== undefined)),
    ...(options.maxCompletionLength === undefined ? {} : { maxNewTokens: options.maxCompletionLength }),
  };
  const stage = defineStage<{ policy: PolicyHandle }, { metrics: MetricsHandle }, StageName<Options, 'evaluate'>>({
    name: name as StageName<Options, 'evaluate'>,
    needs: ['policy'],
    gives: ['metrics'],
    async run({ policy }, context) {
      const { signal } = context;
      const rows = dataset === undefined ? null : await openRows(dataset, { endlessSize: 512, ...(options.limit === undefined ? {} : { limit: options.limit }) });
      const weighted = await resolveRewards(rewards, registry);
      const { openEngine } = await import('@espalier/engine'); // loaded when a model is
      const engine = await openEngine({
        model: policy.path,
        ...(backend === undefined ? {} : { backend }),
        ...(bf16 === undefined ? {} : { precision: bf16 ? ('bf16' as const) : ('fp32' as const) }),
        ...(options.inline === undefined ? {} : { inline: options.inline }),
        ...(signal ? { signal } : {}),
      });
      try {
        const metrics: Metrics = {};
        if (rows) {
          const evaluation = await evaluatePolicy(engine, {
            rows,
            rewards: weighted,
            sampling,
            seed: options.seed ?? context.seed,
            ...(options.samples === undefined ? {} : { samples: options.samples }),
            ...(signal ? { signal } : {}),
            onProgress: (done, total) => context.report({ stage: name, step: done, total, metrics: {} }),
          });
          Object.assign(metrics, evaluationMetrics(evaluation));
          await writeFileDurably(join(context.dir, 'samples.jsonl'), evaluation.examples.map((example) => `${JSON.stringify(example)}\n`).join(''));
        }
        if (texts) {
          const { nll, perplexity } = await perplexityOf(engine, texts, signal ? { signal } : {});
          Object.assign(metrics, { nll, perplexity });
        }
        return { metrics: await metricsArtifact(context, metrics) };
      } finally {
        await engine.close();
      }
    },
  });
  withPlan(stage, async () => {
    const rows = dataset === undefined ? null : await openRows(dataset, { endlessSize: 512, ...(options.limit === undefined ? {} : { limit: options.limit }) });
    const parts = [...(rows ? [`${rows.size} rows × ${options.samples ?? 1} completions`] : []), ...(texts ? [`the perplexity of ${texts.length} texts`] : [])];
    return { note: `measures ${parts.join(' and ')}` };
  });
  const { registry: _registry, dataset: _dataset, reward: _reward, ...plain } = options;
  return withFingerprint(stage, async () => ({ options: plain, rows: await rowsFingerprint(dataset), rewards: rewards.map(rewardFingerprint) }));
}
