import { taskNames } from '@espalier/data';
import { Document } from 'yaml';

/** What `espalier init` can write: `run` is a file for `espalier run`, the others one for `espalier <kind> --config`. */
export const kinds = ['sft', 'dpo', 'reward', 'grpo', 'rpt', 'pipeline'] as const;
export type Kind = (typeof kinds)[number];

export const kindHelp: Readonly<Record<Kind, string>> = {
  sft: 'fine-tune on examples, or pre-train on plain text',
  dpo: 'learn from pairs of a better and a worse answer',
  reward: 'train a reward model on such pairs',
  grpo: 'reinforcement on rewards',
  rpt: 'reinforcement pre-training: verifiable rewards, with KL and language-model options',
  pipeline: 'fine-tune, reinforce and measure in one run',
};

/** Whether completions are scored by reward functions. */
export const onRewards = (kind: Kind): boolean => kind === 'grpo' || kind === 'rpt' || kind === 'pipeline';

export interface Answers {
  kind: Kind;
  model: string;
  /** A file, a dataset of the hub, or a task. */
  dataset: string;
  /** Names of reward functions. */
  reward: readonly string[];
  outputDir: string;
  maxSteps: number;
}

const comments: Readonly<Record<string, string>> = {
  model: 'a folder, a .gguf or .safetensors file, or a hub id',
  dataset: "rows in TRL's formats: .jsonl, .csv, .parquet, a dataset of the hub, or a task",
  reward: 'NAME, NAME=WEIGHT, or NAME:option=value',
  per_device_train_batch_size: 'rows a micro-batch; on rewards: completions, a multiple of num_generations',
  gradient_accumulation_steps: 'micro-batches an optimiser step',
  max_length: 'longest row, in tokens',
  num_generations: 'completions a prompt',
  max_completion_length: 'longest completion, in tokens',
  learning_rate: 'peak, of AdamW',
  max_steps: 'optimiser steps',
  save_steps: 'steps between checkpoints',
  output_dir: "the run's folder",
};

const rows = { per_device_train_batch_size: 4, gradient_accumulation_steps: 1 };
const completions = { num_generations: 4, max_completion_length: 64, per_device_train_batch_size: 8, gradient_accumulation_steps: 1, learning_rate: 5e-6 };
const settings: Readonly<Record<Exclude<Kind, 'pipeline'>, Record<string, unknown>>> = {
  sft: { max_length: 512, ...rows, learning_rate: 2e-5 },
  dpo: { max_length: 512, ...rows, learning_rate: 1e-6 },
  reward: { max_length: 512, ...rows, learning_rate: 1e-5 },
  grpo: completions,
  rpt: completions,
};

/** A YAML file of the answers, with a line of help behind each field. */
export function writeConfig({ kind, model, dataset, reward, outputDir, maxSteps }: Answers, file: string): string {
  if (kind === 'pipeline') return pipelineConfig({ kind, model, dataset, reward, outputDir, maxSteps }, file);
  const fields = { model, dataset, ...(onRewards(kind) ? { reward: [...reward] } : {}), ...settings[kind], max_steps: maxSteps, logging_steps: 1, save_steps: Math.max(1, Math.ceil(maxSteps / 4)), output_dir: outputDir };
  return commented(fields, `espalier ${kind} --config ${file}\n--dry-run prints the plan first; --help lists every field, flags override this file.`);
}

function pipelineConfig({ model, dataset, reward, outputDir, maxSteps }: Answers, file: string): string {
  const task = taskOf(dataset) !== null;
  const part = (name: string, option: string) => (task ? withOption(dataset, option) : `${dataset}#split=sft:0.4,rpt:0.4,test:0.2;take=${name}`);
  const document = new Document({
    output_dir: outputDir,
    seed: 1,
    stages: [
      { model },
      { sft: { dataset: task ? withOption(part('sft', 'split=train'), 'with_completion=true') : part('sft', ''), ...settings.sft, max_steps: maxSteps } },
      { rpt: { dataset: part('rpt', 'split=train'), reward: [...reward], ...settings.rpt, max_steps: maxSteps } },
      { evaluate: { dataset: part('test', 'split=held_out'), reward: [...reward], limit: 64, max_completion_length: 64 } },
    ],
  });
  document.commentBefore = ` espalier run ${file}\n --dry-run prints the plan first; --resume goes on with a run that stopped, and keeps what did not change.`;
  return document.toString({ lineWidth: 0 });
}

/** The task that a reference names; null for files and datasets of the hub. */
export const taskOf = (dataset: string): string | null => taskNames.find((name) => dataset === name || dataset.startsWith(`${name}:`)) ?? null;

/** A task's reference with one more option. */
export const withOption = (task: string, option: string): string => `${task}${task.includes(':') ? ',' : ':'}${option}`;

function commented(fields: Record<string, unknown>, head: string): string {
  const document = new Document(fields);
  document.commentBefore = head.split('\n').map((line) => ` ${line}`).join('\n');
  for (const { key, value } of (document.contents as unknown as { items: { key: { value: string }; value: { comment?: string } }[] }).items) if (comments[key.value]) value.comment = ` ${comments[key.value]}`;
  return document.toString({ lineWidth: 0 });
}
