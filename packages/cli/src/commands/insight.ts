import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { loadRows, toPrompt } from '@espalier/data';
import type { Engine } from '@espalier/engine';
import { resolveRewards } from '@espalier/pipeline';
import { insightFile, writeReport, type InsightData } from '@espalier/report';
import { encodePrompt } from '@espalier/rollouts';
import { EspalierError, type Message, type RewardSample } from '@espalier/spec';
import { writeFileDurably } from '@espalier/spec/files';
import { rewardTotal, scoreSamples, weightedTotal, type WeightedReward } from '@espalier/trainer';
import { z } from 'zod';
import { buildCommand, defined } from '../command';
import { openRegistry, pluginFields } from './data-fields';
import { compareViews, viewOf, withAdvantages, type InsightText, type ModelView } from './insight-compare';
import { insightLines } from './insight-table';
import { modelFields } from './model-fields';

const shape = {
  before: z.string().min(1).describe('the earlier checkpoint: a folder, a file, or a hub id'),
  after: z.string().min(1).describe('the later checkpoint, of the same model'),
  prompt: z.string().min(1).optional().describe('what is asked'),
  completion: z.string().optional().describe('what is answered; default: what the later checkpoint says, its likeliest tokens'),
  chat: z.boolean().default(false).describe("put the prompt into the model's chat template"),
  samples: z.string().min(1).optional().describe("many texts, in place of --prompt: a run's samples.jsonl, or rows with `prompt` and `completion`"),
  limit: z.int().positive().default(8).describe('--samples: the last ones, at most this many'),
  maxNewTokens: z.int().positive().default(64).describe('tokens of the answer, where --completion is left out'),
  reward: z.array(z.string().min(1)).optional().describe('reward functions that score the texts: NAME, NAME=WEIGHT or NAME:option=value,…; default: what --samples says of each'),
  run: z.string().min(1).optional().describe('the folder of a run: the comparison is written into it (insight.json, in place of one from before) and shown in its report'),
  backend: modelFields.backend,
  precision: modelFields.precision,
  ...pluginFields,
};
type Values = z.output<z.ZodObject<typeof shape>>;

export const insightCommand = () =>
  buildCommand({
    name: 'insight',
    summary: 'what training changed: log-prob and entropy, token by token, of two checkpoints on the same texts',
    shape,
    whole: ['prompt', 'completion', 'reward'],
    notes: 'With --json: {"before", "after", "samples": [{"prompt", "completion", "tokens", "before", "after", "entropyBefore", "entropyAfter", "reward", "components", "advantage"}]}: log-probs and entropies in nats at temperature 1, one a token.',
    async run(values, { output, signal }) {
      if ((values.prompt === undefined) === (values.samples === undefined)) throw new EspalierError('usage', values.samples ? '--prompt and --samples are both given' : '--prompt is missing', { fix: 'give --prompt TEXT, or --samples FILE' });
      if (values.samples !== undefined && values.completion !== undefined) throw new EspalierError('usage', '--completion is given with --samples', { fix: 'leave it out: each sample has its own' });
      if (values.run !== undefined && !(await stat(values.run).catch(() => null))?.isDirectory()) throw new EspalierError('not_found', `--run: there is no folder ${values.run}`, { fix: 'the folder of a run, such as runs/sums' });
      const rewards = await resolveRewards(values.reward ?? [], await openRegistry(values.plugin));
      const given = values.samples === undefined ? null : await readSamples(values.samples, values.limit);
      const data = await compare(values, given, rewards, signal);
      if (values.run !== undefined) {
        await writeFileDurably(join(values.run, insightFile), `${JSON.stringify(data)}\n`);
        const { path } = await writeReport(values.run);
        output.note(`written into ${path}`);
      }
      await output.result(data);
      for (const line of insightLines(data)) output.line(line);
    },
  });

/** One model after the other, so that one at a time is in memory. */
async function compare(values: Values, given: readonly Row[] | null, rewards: readonly WeightedReward[], signal: AbortSignal): Promise<InsightData> {
  const { openEngine } = await import('@espalier/engine'); // loaded when a model is: help and wrong usage need not wait
  const prompt = values.chat ? [{ role: 'user', content: values.prompt! }] : values.prompt!;
  const look = async (model: string, texts: readonly InsightText[] | null): Promise<{ texts: readonly InsightText[]; view: ModelView }> => {
    const engine = await openEngine(defined({ model, backend: values.backend, precision: values.precision, signal }));
    try {
      const all = texts ?? [await answer(engine, prompt, values.maxNewTokens, signal)];
      return { texts: all, view: await viewOf(engine, all, signal) };
    } finally {
      await engine.close();
    }
  };
  const known: readonly Row[] | null = given ?? (values.completion === undefined ? null : [{ text: { prompt, completion: values.completion, ended: false, reward: null, components: {}, advantage: null }, row: {} }]);
  const after = await look(values.after, known?.map(({ text }) => text) ?? null);
  const before = await look(values.before, after.texts);
  const texts = withAdvantages(await scored(after.texts, after.view, known?.map(({ row }) => row) ?? [], rewards, signal));
  return compareViews({ before: values.before, after: values.after }, texts, before.view, after.view);
}

async function answer(engine: Engine, prompt: InsightText['prompt'], maxNewTokens: number, signal: AbortSignal): Promise<InsightText> {
  for await (const { text, finishReason } of engine.generate([{ id: '0', prompt: encodePrompt(engine.tokenizer, prompt), seed: 0, sampling: { temperature: 0, maxNewTokens } }], { signal })) {
    return { prompt, completion: text, ended: finishReason === 'stop', reward: null, components: {}, advantage: null };
  }
  throw new EspalierError('aborted', 'stopped before anything was generated');
}

interface Row {
  text: InsightText;
  row: Readonly<Record<string, unknown>>;
}

const numberOrNull = (value: unknown): number | null => (typeof value === 'number' && Number.isFinite(value) ? value : null);

/** Texts of a file: what a run wrote down of its samples, or rows for supervised training. */
async function readSamples(path: string, limit: number): Promise<Row[]> {
  const rows = await loadRows(path);
  const first = Math.max(0, rows.size - limit);
  return Array.from({ length: rows.size - first }, (_, k) => {
    const row = rows.row(first + k) as Record<string, unknown>;
    const origin = rows.origin(first + k);
    const { completion } = row;
    const said = typeof completion === 'string' ? completion : Array.isArray(completion) ? completion.map((message: Message) => message.content).join('\n') : null;
    if (said === null) throw new EspalierError('bad_data', `${path}${origin.line === undefined ? '' : `:${origin.line}`}: there is no \`completion\``, { fix: "a run's samples.jsonl, or rows with `prompt` and `completion`" });
    const parts = Object.entries({ ...(row['rewards'] as object | undefined), ...flattened(row['components']) }).flatMap(([name, value]) => (typeof value === 'number' ? [[name, value] as const] : []));
    return { row, text: { prompt: toPrompt(rows.row(first + k), origin), completion: said, ended: row['finish_reason'] === 'stop' || row['finish_reason'] === undefined, reward: numberOrNull(row['reward']), components: Object.fromEntries(parts), advantage: numberOrNull(row['advantage']) } };
  });
}

/** `{ format: { length: 1 } }` as `format/length`. */
const flattened = (components: unknown): Record<string, unknown> =>
  Object.fromEntries(Object.entries((components ?? {}) as Record<string, Record<string, unknown>>).flatMap(([name, parts]) => Object.entries(parts ?? {}).map(([part, value]) => [`${name}/${part}`, value] as const)));

/** The texts with what reward functions give them, where some were asked for. */
async function scored(texts: readonly InsightText[], view: ModelView, rows: readonly Readonly<Record<string, unknown>>[], rewards: readonly WeightedReward[], signal: AbortSignal): Promise<readonly InsightText[]> {
  if (rewards.length === 0) return texts;
  const samples = texts.map(({ prompt, completion }, i): RewardSample => ({ prompt, completion, completionTokens: view.ids[i].slice(view.ids[i].length - view.logps[i].length), finishReason: 'stop', group: JSON.stringify(prompt), row: { ...rows[i] } }));
  const all = await scoreSamples(rewards, samples, { step: 0, signal, evaluation: true });
  const weights = Object.fromEntries(rewards.map(({ reward, weight }) => [reward.name, weight]));
  return texts.map((text, i) => {
    const parts = Object.entries(all[i]).flatMap(([name, reward]) => (reward === null ? [] : [[name, rewardTotal(reward)] as const, ...(typeof reward === 'object' ? Object.entries(reward.components ?? {}).map(([part, value]) => [`${name}/${part}`, value] as const) : [])]));
    return { ...text, reward: weightedTotal(all[i], weights), components: Object.fromEntries(parts), advantage: null };
  });
}
