import { evaluateTasks, evaluatePolicy, formatNumber, formatTable, generalText, openTasks, perplexityOf, readTexts, resolveRewards, type OpenedTask, type PolicyEvaluation } from '@espalier/pipeline';
import { EspalierError } from '@espalier/spec';
import { z } from 'zod';
import { buildCommand, defined } from '../command';
import { startProgress } from '../progress';
import { dataFields, openData, openRegistry, pluginFields } from './data-fields';
import { modelFields, samplingFields } from './model-fields';

const shape = {
  ...modelFields,
  ...dataFields,
  tasks: z.array(z.string().min(1)).optional().describe('further tasks, each measured by itself: arithmetic:split=held_out,size=200, or a file of rows; may be given several times. Rows of the procedural tasks name their reward themselves, others take --reward'),
  reward: z.array(z.string().min(1)).optional().describe('reward functions: NAME, NAME=WEIGHT or NAME:option=value,…; may be given several times'),
  samples: z.int().positive().max(1024).default(1).describe('completions a row; more than one gives pass@k'),
  limit: z.int().positive().optional().describe('evaluate the first rows alone'),
  maxNewTokens: z.int().positive().optional().describe("longest completion, in tokens; default: 256, or half of the model's positions"),
  temperature: z.number().min(0).optional().describe('default: 0 for one sample a row, 1 for more'),
  ...samplingFields,
  perplexity: z.string().min(1).optional().describe(`adds nll and perplexity on a text file, on rows with \`text\` (.jsonl, .csv, .parquet, a dataset of the hub), or on ${generalText}: pieces of English prose that come with Espalier`),
  perplexityLimit: z.int().positive().optional().describe('the first texts of --perplexity alone; default: all of a file, 256 of a dataset on the hub'),
  text: z.string().min(1).optional().describe('the older name of --perplexity'),
  baseline: z.string().min(1).optional().describe('another model that is measured alike, such as the one before training; adds what has changed'),
  ...pluginFields,
  seed: z.int().min(0).max(0xffffffff).default(42).describe('the same seed gives the same completions'),
};

/** What a model was measured at. */
interface Measured {
  main: PolicyEvaluation | null;
  tasks: ReadonlyMap<string, PolicyEvaluation>;
  text: { nll: number; perplexity: number; tokens: number } | null;
}

/** An evaluation as the JSON names it. */
function resultOf(evaluation: PolicyEvaluation, samples: number): Record<string, unknown> {
  return {
    rewards: evaluation.rewards,
    reward: evaluation.reward,
    rows: evaluation.rows,
    samples,
    completions: evaluation.completions,
    accuracy: evaluation.accuracy,
    accuracy_interval: evaluation.accuracyInterval,
    ...Object.fromEntries(Object.entries(evaluation.passAt).flatMap(([k, value]) => [[`pass@${k}`, value], [`pass@${k}_interval`, evaluation.passIntervals[Number(k)]]])),
    unscorable: evaluation.unscorable,
    mean_length: evaluation.meanLength,
    clipped_ratio: evaluation.clippedRatio,
  };
}

function jsonOf({ main, tasks, text }: Measured, samples: number): Record<string, unknown> {
  return {
    ...(main ? resultOf(main, samples) : {}),
    ...(tasks.size > 0 ? { tasks: Object.fromEntries([...tasks].map(([name, evaluation]) => [name, resultOf(evaluation, samples)])) } : {}),
    ...(text ? { nll: text.nll, perplexity: text.perplexity, text_tokens: text.tokens } : {}),
  };
}

/** After less before: accuracies as differences, perplexity as a ratio less one. */
function changeOf(before: Measured, after: Measured): Record<string, unknown> {
  return {
    ...(before.main && after.main ? { accuracy: after.main.accuracy - before.main.accuracy, reward: after.main.reward - before.main.reward } : {}),
    ...(after.tasks.size > 0 ? { tasks: Object.fromEntries([...after.tasks].map(([name, { accuracy }]) => [name, { accuracy: accuracy - before.tasks.get(name)!.accuracy }])) } : {}),
    ...(before.text && after.text ? { perplexity_ratio: after.text.perplexity / before.text.perplexity } : {}),
  };
}

const percent = (value: number) => (Number.isFinite(value) ? `${(100 * value).toFixed(1)} %` : '');

/** One line a task: accuracy, its interval, pass@k; the same of the baseline before it. */
function taskTable(measured: Measured, baseline: Measured | null, samples: number): string {
  const passes = samples > 1 ? Object.keys([...measured.tasks.values()][0].passAt).filter((k) => k !== '1') : [];
  const header = ['task', 'rows', ...(baseline ? ['before'] : []), 'accuracy', '95 % interval', ...passes.map((k) => `pass@${k}`), 'reward'];
  const rows = [...measured.tasks].map(([name, evaluation]) => [
    name,
    String(evaluation.rows),
    ...(baseline ? [percent(baseline.tasks.get(name)!.accuracy)] : []),
    percent(evaluation.accuracy),
    evaluation.accuracyInterval ? evaluation.accuracyInterval.map((end) => (100 * end).toFixed(1)).join('–') : '',
    ...passes.map((k) => percent(evaluation.passAt[Number(k)])),
    formatNumber(evaluation.reward),
  ]);
  return formatTable(header, rows);
}

export const evalCommand = () =>
  buildCommand({
    name: 'eval',
    summary: 'mean rewards, accuracy and pass@k on rows and on other tasks; perplexity on a text',
    shape,
    whole: ['reward', 'stop', 'taskTemplate', 'tasks'],
    config: true,
    notes: 'Accuracy is the share of completions whose first reward is at least 1. pass@k is the chance that one of k completions is right, estimated from --samples without bias. Intervals are Wilson\'s, of 95 %; completions of one row count as far as they differ. With --json: {"rewards", "rows", "accuracy", "accuracy_interval", "pass@1", …, "tasks": {NAME: the same}, "nll", "perplexity", "baseline": the same, "change"}; what was not asked for is absent, a mean over nothing is null.',
    async run(values, { output, signal }) {
      const judged = values.dataset !== undefined || values.task !== undefined;
      const { tasks: refs = [], samples } = values;
      if (values.text !== undefined && values.perplexity !== undefined) throw new EspalierError('usage', '--text and --perplexity are both given', { fix: 'one of them' });
      const source = values.perplexity ?? values.text;
      if (!judged && refs.length === 0 && source === undefined) throw new EspalierError('usage', '--dataset is missing', { fix: 'give rows by --dataset, --task or --tasks, or a text by --perplexity' });
      if (judged && !values.reward) throw new EspalierError('usage', '--reward is missing', { fix: 'give at least one, such as --reward numeric' });
      if (!judged && refs.length === 0 && values.reward) throw new EspalierError('usage', '--reward is given without rows', { fix: 'add --dataset, --task or --tasks' });
      if (source === undefined && values.perplexityLimit !== undefined) throw new EspalierError('usage', '--perplexity-limit is given without --perplexity', { fix: 'add it, or leave this out' });
      // Everything that can be wrong is looked at before the model is loaded.
      const onNotice = (message: string) => output.note(`notice: ${message}`);
      const registry = await openRegistry(values.plugin);
      const rows = judged ? await openData(values, { ...defined({ limit: values.limit, endlessSize: 512 }), onNotice }) : null;
      const rewards = await resolveRewards(values.reward ?? [], registry);
      const tasks: readonly OpenedTask[] = await openTasks(refs, { registry, rewards, ...defined({ limit: values.limit }), onNotice });
      const texts = source === undefined ? null : await readTexts(source, defined({ limit: values.perplexityLimit }));
      const started = performance.now();

      const measure = async (model: string, label: string): Promise<Measured> => {
        const { openEngine } = await import('@espalier/engine'); // loaded when a model is: help and wrong usage need not wait
        const engine = await openEngine(defined({ model, backend: values.backend, precision: values.precision, samplerWeights: values.samplerWeights, signal }));
        try {
          const total = [rows, ...tasks.map((task) => task.rows)].reduce((sum, part) => sum + (part?.size ?? 0) * samples, 0);
          const progress = startProgress(label, { unit: 'completion', total, quiet: total === 0 || (output.json && !process.stderr.isTTY) });
          const call = (before: number) => ({
            samples,
            sampling: { ...defined({ temperature: values.temperature, maxNewTokens: values.maxNewTokens }), topK: values.topK, topP: values.topP, minP: values.minP, repetitionPenalty: values.repetitionPenalty, stop: values.stop ?? [] },
            seed: values.seed,
            signal,
            onProgress: (done: number) => progress.update(before + done),
          });
          const evaluated = await (async () => ({
            main: rows && (await evaluatePolicy(engine, { ...call(0), rows, rewards })),
            tasks: await evaluateTasks(engine, tasks, call((rows?.size ?? 0) * samples)),
          }))().finally(() => progress.stop());
          if (!texts) return { ...evaluated, text: null };
          const reading = startProgress('perplexity', { unit: 'text', total: texts.length, quiet: texts.length === 1 || output.json });
          return { ...evaluated, text: await perplexityOf(engine, texts, { signal, onProgress: (done) => reading.update(done) }).finally(() => reading.stop()) };
        } finally {
          await engine.close();
        }
      };

      const before = values.baseline === undefined ? null : await measure(values.baseline, 'eval baseline');
      const after = await measure(values.model, 'eval');
      const result: Record<string, unknown> = {
        ...jsonOf(after, samples),
        ...(before ? { baseline: jsonOf(before, samples), change: changeOf(before, after) } : {}),
        seconds: (performance.now() - started) / 1000,
      };
      await output.result(result);
      const line = (name: string, value: unknown) => output.line(`${name.padEnd(18)} ${Array.isArray(value) ? value.map((end) => formatNumber(end as number)).join(' to ') : formatNumber((value ?? NaN) as number)}`);
      const { tasks: _tasks, baseline: _baseline, change, ...plain } = result;
      for (const [name, value] of Object.entries(plain)) {
        if (name === 'rewards') for (const [reward, mean] of Object.entries(value as Record<string, number>)) line(`reward ${reward}`, mean);
        else line(name, value);
      }
      if (before?.main) line('accuracy before', before.main.accuracy);
      if (before?.text) line('perplexity before', before.text.perplexity);
      if (change && 'perplexity_ratio' in (change as object)) output.line(`${'perplexity change'.padEnd(18)} ${(100 * ((change as { perplexity_ratio: number }).perplexity_ratio - 1)).toFixed(2)} %`);
      if (tasks.length > 0) output.line(taskTable(after, before, samples));
    },
  });
