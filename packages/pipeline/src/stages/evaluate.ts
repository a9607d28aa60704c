import { join } from 'node:path';
import { defineStage, EspalierError, type Metrics, type MetricsHandle, type PolicyHandle, type SamplingOptions, type Stage } from '@espalier/spec';
import { writeFileDurably } from '@espalier/spec/files';
import type { DatasetInput } from '@espalier/trainer';
import { evaluatePolicy, perplexityOf, type EvaluatePolicyOptions } from '../evaluate-policy';
import { evaluateTasks, openTasks, type EvaluationTask } from '../evaluate-tasks';
import { policyMetrics, taskMetrics } from '../evaluation-metrics';
import { digestValue } from '../digest';
import { withFingerprint } from '../fingerprint';
import { withPlan } from '../stage-plan';
import type { Registry } from '../registry';
import type { CheckedOptions, StageName } from '../checked-options';
import type { RewardOption } from '../reward-types';
import { checkRewards, resolveRewards, rewardFingerprint, type RewardInput } from '../rewards';
import { readTexts } from '../read-texts';
import { openRows, rowsFingerprint } from '../rows';
import { modelArgsOf, modelOptionNames, splitOptions, type StageModelOptions } from './options';
import { metricsArtifact } from './train-stage';

export interface EvaluateStageOptions extends Pick<StageModelOptions, 'backend' | 'precision' | 'samplerWeights' | 'inline'>, Omit<SamplingOptions, 'maxNewTokens'> {
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
  /** Further tasks, each measured by itself: `arithmetic:split=held_out,size=200`, a file of rows, rows with their rewards. Rows of the procedural tasks name their reward; others take `reward`. */
  tasks?: readonly EvaluationTask[];
  /** Texts whose perplexity is measured. */
  texts?: readonly string[];
  /** Where more of them are: a text file, rows with `text`, a dataset of the hub, or `general`, which comes with the package. */
  perplexity?: string;
  /** The first texts of `perplexity` alone. Default: all of a file, 256 of a dataset on the hub. */
  perplexityLimit?: number;
  seed?: number;
  registry?: Registry;
}

const samplingNames = ['minNewTokens', 'temperature', 'topK', 'topP', 'minP', 'repetitionPenalty', 'stop', 'stopTokens', 'ignoreEos'] as const;
const ownNames = [...modelOptionNames, ...samplingNames, 'name', 'dataset', 'reward', 'limit', 'samples', 'maxCompletionLength', 'tasks', 'texts', 'perplexity', 'perplexityLimit', 'seed', 'registry'];

/**
 * Measures a policy as a stage: mean rewards, accuracy and pass@k on rows, the same on several tasks, perplexity on texts; shares come with the ends of their 95 %
 * intervals (`accuracy_low`, `accuracy_high`). The policy goes on as it is. {@link evaluateEach} puts one behind every stage.
 * @throws EspalierError `bad_config` for an unknown field, or nothing to measure, at once
 * @example
 * evaluate({ dataset: 'held-out.jsonl', reward: 'numeric', tasks: ['count_letters:size=200'], perplexity: 'general', maxCompletionLength: 24 })
 */
export function evaluate<const Options extends EvaluateStageOptions>(given: CheckedOptions<Options, EvaluateStageOptions>): Stage<{ policy: PolicyHandle }, { metrics: MetricsHandle }, StageName<Options, 'evaluate'>> {
  const options = given as EvaluateStageOptions;
  const name = options.name ?? 'evaluate';
  const { own } = splitOptions(name, options, ownNames, {});
  const { dataset, texts, registry, tasks = [], perplexity: textSource, perplexityLimit } = options;
  const rewards: readonly RewardInput[] = options.reward === undefined ? [] : Array.isArray(options.reward) ? (options.reward as readonly RewardInput[]) : [options.reward as RewardInput];
  const rewarded = dataset !== undefined || tasks.length > 0;
  if (!rewarded && texts === undefined && textSource === undefined) throw new EspalierError('bad_config', `stage "${name}" has nothing to measure on`, { fix: 'give `dataset` and `reward`, `tasks`, `perplexity` or `texts`' });
  if ((dataset !== undefined && rewards.length === 0) || (!rewarded && rewards.length > 0)) throw new EspalierError('bad_config', `stage "${name}": \`${dataset === undefined ? 'dataset' : 'reward'}\` is missing`, { fix: '`dataset` and `reward` go together' });
  checkRewards([...rewards, ...tasks.flatMap((task) => (typeof task === 'string' || task.reward === undefined ? [] : (task.reward as RewardInput | readonly RewardInput[])))], registry);
  const { backend, bf16, samplerWeights } = modelArgsOf(name, own);
  const sampling: SamplingOptions = {
    ...Object.fromEntries(samplingNames.map((key) => [key, own[key]]).filter(([, value]) => value !== undefined)),
    ...(options.maxCompletionLength === undefined ? {} : { maxNewTokens: options.maxCompletionLength }),
  };
  const allTexts = async () => (texts === undefined && textSource === undefined ? null : [...(texts ?? []), ...(textSource === undefined ? [] : await readTexts(textSource, perplexityLimit === undefined ? {} : { limit: perplexityLimit }))]);
  const stage = defineStage<{ policy: PolicyHandle }, { metrics: MetricsHandle }, StageName<Options, 'evaluate'>>({
    name: name as StageName<Options, 'evaluate'>,
    needs: ['policy'],
    gives: ['metrics'],
    async run({ policy }, context) {
      const { signal } = context;
      const rows = dataset === undefined ? null : await openRows(dataset, { endlessSize: 512, ...(options.limit === undefined ? {} : { limit: options.limit }) });
      const weighted = await resolveRewards(rewards, registry);
      const opened = await openTasks(tasks, { rewards: weighted, ...(registry ? { registry } : {}), ...(options.limit === undefined ? {} : { limit: options.limit }) });
      const read = await allTexts();
      const { openEngine } = await import('@espalier/engine'); // loaded when a model is
      const engine = await openEngine({
        model: policy.path,
        ...(backend === undefined ? {} : { backend }),
        ...(bf16 === undefined ? {} : { precision: bf16 ? ('bf16' as const) : ('fp32' as const) }),
        ...(samplerWeights === undefined ? {} : { samplerWeights }),
        ...(options.inline === undefined ? {} : { inline: options.inline }),
        ...(signal ? { signal } : {}),
      });
      try {
        const metrics: Metrics = {};
        const samples = options.samples ?? 1;
        const total = [rows, ...opened.map((task) => task.rows)].reduce((sum, part) => sum + (part?.size ?? 0) * samples, 0);
        const call = (before: number): Omit<EvaluatePolicyOptions, 'rows' | 'rewards'> => ({
          sampling,
          samples,
          seed: options.seed ?? context.seed,
          ...(signal ? { signal } : {}),
          onProgress: (done) => context.report({ stage: name, step: before + done, total, metrics: {} }),
        });
        const evaluation = rows && (await evaluatePolicy(engine, { ...call(0), rows, rewards: weighted }));
        if (evaluation) Object.assign(metrics, policyMetrics(evaluation));
        const others = await evaluateTasks(engine, opened, call((rows?.size ?? 0) * samples));
        Object.assign(metrics, taskMetrics(others));
        const examples = [...(evaluation?.examples ?? []), ...[...others].flatMap(([task, { examples }]) => examples.map((example) => ({ task, ...example })))];
        if (examples.length > 0) await writeFileDurably(join(context.dir, 'samples.jsonl'), examples.map((example) => `${JSON.stringify(example)}\n`).join(''));
        if (read) {
          const { nll, perplexity } = await perplexityOf(engine, read, signal ? { signal } : {});
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
    const opened = await openTasks(tasks, { rewards: await resolveRewards(rewards, registry), ...(registry ? { registry } : {}), ...(options.limit === undefined ? {} : { limit: options.limit }) });
    const size = opened.reduce((sum, task) => sum + task.rows.size, 0);
    const read = await allTexts();
    const parts = [
      ...(rows ? [`${rows.size} rows × ${options.samples ?? 1} completions`] : []),
      ...(opened.length > 0 ? [`${opened.map((task) => task.name).join(', ')} (${size} rows × ${options.samples ?? 1} completions)`] : []),
      ...(read ? [`the perplexity of ${read.length} texts`] : []),
    ];
    return { note: `measures ${parts.join(' and ')}` };
  });
  const { registry: _registry, dataset: _dataset, reward: _reward, tasks: _tasks, ...plain } = options;
  const taskFingerprints = () =>
    Promise.all(
      tasks.map(async (task) => {
        const { dataset: source, reward, ...more } = typeof task === 'string' ? { dataset: task as DatasetInput, reward: undefined } : { reward: undefined, ...task };
        const given = reward === undefined ? [] : Array.isArray(reward) ? (reward as readonly RewardInput[]) : [reward as RewardInput];
        return { ...more, rows: await rowsFingerprint(source), rewards: given.map(rewardFingerprint) };
      }),
    );
  return withFingerprint(stage, async () => ({
    options: plain,
    rows: await rowsFingerprint(dataset),
    rewards: rewards.map(rewardFingerprint),
    ...(tasks.length > 0 ? { tasks: await taskFingerprints() } : {}),
    ...(textSource === undefined ? {} : { texts: digestValue(await readTexts(textSource, perplexityLimit === undefined ? {} : { limit: perplexityLimit })) }),
  }));
}
