import { existsSync } from 'node:fs';
import { describeOrigin, formatOf, loadRows } from '@espalier/data';
import { evaluatePolicy, formatNumber, perplexityOf, resolveRewards } from '@espalier/pipeline';
import { EspalierError } from '@espalier/spec';
import { z } from 'zod';
import { buildCommand, defined } from '../command';
import { startProgress } from '../progress';
import { dataFields, openData, openRegistry, pluginFields } from './data-fields';
import { modelFields, samplingFields } from './model-fields';
import { readText } from './score';

const shape = {
  ...modelFields,
  ...dataFields,
  reward: z.array(z.string().min(1)).optional().describe('reward functions: NAME, NAME=WEIGHT or NAME:option=value,…; may be given several times'),
  samples: z.int().positive().max(1024).default(1).describe('completions a row; more than one gives pass@k'),
  limit: z.int().positive().optional().describe('evaluate the first rows alone'),
  maxNewTokens: z.int().positive().optional().describe("longest completion, in tokens; default: 256, or half of the model's positions"),
  temperature: z.number().min(0).optional().describe('default: 0 for one sample a row, 1 for more'),
  ...samplingFields,
  text: z.string().min(1).optional().describe('a text file, or a file of rows (.jsonl, .csv, .parquet) with `text`: adds its nll and perplexity'),
  ...pluginFields,
  seed: z.int().min(0).max(0xffffffff).default(42).describe('the same seed gives the same completions'),
};

async function readTexts(path: string): Promise<string[]> {
  if (!existsSync(path)) throw new EspalierError('not_found', `--text: there is no file ${path}`);
  if (formatOf(path) === null) return [readText(path)];
  const rows = await loadRows(path, { accepted: ['language_modeling'] });
  return Array.from({ length: rows.size }, (_, i) => {
    const { text } = rows.row(i) as { text?: unknown };
    if (typeof text !== 'string') throw new EspalierError('bad_data', `${describeOrigin(rows.origin(i))}: there is no \`text\``);
    return text;
  });
}

export const evalCommand = () =>
  buildCommand({
    name: 'eval',
    summary: 'mean rewards, accuracy and pass@k on rows; perplexity on a text',
    shape,
    whole: ['reward', 'stop', 'taskTemplate'],
    config: true,
    notes: 'Accuracy is the share of completions whose first reward is at least 1. pass@k is the chance that one of k completions is right, estimated from --samples without bias. With --json: {"rewards", "rows", "accuracy", "pass@1", …, "nll", "perplexity"}; what was not asked for is absent, a mean over nothing is null.',
    async run(values, { output, signal }) {
      const judged = values.dataset !== undefined || values.task !== undefined;
      if (!judged && values.text === undefined) throw new EspalierError('usage', '--dataset is missing', { fix: 'give rows by --dataset or --task, or a text by --text' });
      if (judged && !values.reward) throw new EspalierError('usage', '--reward is missing', { fix: 'give at least one, such as --reward numeric' });
      if (!judged && values.reward) throw new EspalierError('usage', '--reward is given without rows', { fix: 'add --dataset or --task' });
      // Everything that can be wrong is looked at before the model is loaded.
      const rows = judged ? await openData(values, { ...defined({ limit: values.limit, endlessSize: 512 }), onNotice: (message) => output.note(`notice: ${message}`) }) : null;
      const rewards = await resolveRewards(values.reward ?? [], await openRegistry(values.plugin));
      const texts = values.text === undefined ? null : await readTexts(values.text);

      const { openEngine } = await import('@espalier/engine'); // loaded when a model is: help and wrong usage need not wait
      const engine = await openEngine(defined({ model: values.model, backend: values.backend, precision: values.precision, signal }));
      const started = performance.now();
      try {
        const result: Record<string, unknown> = {};
        if (rows) {
          const progress = startProgress('eval', { unit: 'completion', total: rows.size * values.samples, quiet: output.json && !process.stderr.isTTY });
          const evaluation = await evaluatePolicy(engine, {
            rows,
            rewards,
            samples: values.samples,
            sampling: { ...defined({ temperature: values.temperature, maxNewTokens: values.maxNewTokens }), topK: values.topK, topP: values.topP, minP: values.minP, repetitionPenalty: values.repetitionPenalty, stop: values.stop ?? [] },
            seed: values.seed,
            signal,
            onProgress: (done) => progress.update(done),
          }).finally(() => progress.stop());
          Object.assign(result, {
            rewards: evaluation.rewards,
            reward: evaluation.reward,
            rows: evaluation.rows,
            samples: values.samples,
            completions: evaluation.completions,
            accuracy: evaluation.accuracy,
            ...Object.fromEntries(Object.entries(evaluation.passAt).map(([k, value]) => [`pass@${k}`, value])),
            unscorable: evaluation.unscorable,
            mean_length: evaluation.meanLength,
            clipped_ratio: evaluation.clippedRatio,
          });
        }
        if (texts) {
          const progress = startProgress('perplexity', { unit: 'text', total: texts.length, quiet: texts.length === 1 || output.json });
          const { nll, perplexity, tokens } = await perplexityOf(engine, texts, { signal, onProgress: (done) => progress.update(done) }).finally(() => progress.stop());
          Object.assign(result, { nll, perplexity, text_tokens: tokens });
        }
        result['seconds'] = (performance.now() - started) / 1000;
        await output.result(result);
        for (const [name, value] of Object.entries(result)) {
          if (name === 'rewards') for (const [reward, mean] of Object.entries(value as Record<string, number>)) output.line(`${`reward ${reward}`.padEnd(18)} ${formatNumber(mean)}`);
          else output.line(`${name.padEnd(18)} ${formatNumber(value as number)}`);
        }
      } finally {
        await engine.close();
      }
    },
  });
