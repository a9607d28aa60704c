import { EspalierError } from '@espalier/spec';
import { z } from 'zod';
import { trainingArguments } from './arguments';
import { environmentFields } from './environment/environment-arguments';
import { monitorFields } from './monitor-options';

const count = z.int().positive();
const optional = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined);

/** The fields that generation adds to the training arguments, with TRL's names and defaults (`GRPOConfig`). */
export const generationFields = {
  /** Completions a prompt. */
  numGenerations: count.default(8),
  maxCompletionLength: count.default(512),
  /** Completions generated together. Default: `perDeviceTrainBatchSize` × `stepsPerGeneration`. */
  generationBatchSize: optional(count),
  /** Micro-batches trained on one generation. Default: `gradientAccumulationSteps`. */
  stepsPerGeneration: optional(count),
  temperature: z.number().positive('a sampled policy needs a temperature above 0').default(1),
  topP: z.number().gt(0).max(1).default(1),
  /** 0: off. */
  topK: z.int().min(0).default(0),
  minP: optional(z.number().min(0).max(1)),
  repetitionPenalty: z.number().positive().default(1),
  shuffleDataset: z.boolean().default(true),
  /**
   * DAPO's dynamic sampling (2503.14476 §3.2): a group whose completions all earned the same teaches nothing, and other prompts are sampled in its place, up to
   * `maxResamples` times. What is flat then stays in.
   */
  dynamicSampling: z.boolean().default(false),
  /** Generations beyond the first in a round, with `dynamicSampling`. */
  maxResamples: count.default(3),
  /** Write completions to `samples.jsonl` at every step rather than at the logged ones, with the log-probs of their tokens. */
  logCompletions: z.boolean().default(false),
  /** One a reward function, in their order. Default: all 1. */
  rewardWeights: optional(z.array(z.number())),
  ...monitorFields,
} as const;

/** Arguments of on-policy training whatever the algorithm: the training arguments, {@link generationFields}, and TRL's learning rate for it. */
export const onlineArguments = trainingArguments.extend({ ...generationFields, ...environmentFields, learningRate: z.number().min(0).default(1e-6) });
export type OnlineArguments = z.output<typeof onlineArguments>;
export type OnlineArgumentsInput = z.input<typeof onlineArguments>;

/**
 * Refuses filters of the sampler's distribution, for algorithms whose loss takes the log-probs of what was sampled: the learner's are those of the whole
 * distribution (the temperature is applied on both sides), so a ratio or a KL against a truncated one would be wrong without a sign of it.
 * @throws EspalierError `bad_config`
 */
export function assertWholeDistribution(args: Pick<OnlineArguments, 'topP' | 'topK' | 'minP' | 'repetitionPenalty'>): void {
  const found = args.topP < 1 ? `\`top_p\` ${args.topP}` : args.topK > 0 ? `\`top_k\` ${args.topK}` : (args.minP ?? 0) > 0 ? `\`min_p\` ${args.minP}` : args.repetitionPenalty !== 1 ? `\`repetition_penalty\` ${args.repetitionPenalty}` : null;
  if (found === null) return;
  throw new EspalierError('bad_config', `${found} would sample from another distribution than the one whose log-probs are trained on`, { fix: 'leave it out and set `temperature`, which counts on both sides' });
}

/** How completions are divided among generations, micro-batches and optimiser steps. */
export interface RoundGeometry {
  /** Completions a micro-batch. */
  microBatchSize: number;
  /** Micro-batches a generation. */
  stepsPerGeneration: number;
  /** Generations a round: more than one when an optimiser step accumulates over several. */
  generations: number;
  promptsPerGeneration: number;
  /** Prompts a round. */
  prompts: number;
  /** Optimiser steps a round. */
  updates: number;
}

/**
 * TRL's batch geometry: `perDeviceTrainBatchSize` counts completions, a generation holds whole groups, and serves `stepsPerGeneration` micro-batches
 * `numIterations` times over.
 * @throws EspalierError `bad_config` with values that would do
 */
export function roundGeometry(args: Pick<OnlineArguments, 'perDeviceTrainBatchSize' | 'gradientAccumulationSteps' | 'numGenerations' | 'generationBatchSize' | 'stepsPerGeneration'>, numIterations: number): RoundGeometry {
  const { perDeviceTrainBatchSize: size, gradientAccumulationSteps: accumulation, numGenerations } = args;
  if (args.generationBatchSize !== undefined && args.stepsPerGeneration !== undefined) throw new EspalierError('bad_config', '`generation_batch_size` and `steps_per_generation` were both given', { fix: 'one of them; the other follows' });
  if (args.generationBatchSize !== undefined && args.generationBatchSize % size !== 0) throw indivisible('generation_batch_size', args.generationBatchSize, 'per_device_train_batch_size', size, size);
  const stepsPerGeneration = args.generationBatchSize !== undefined ? args.generationBatchSize / size : (args.stepsPerGeneration ?? accumulation);
  if ((size * stepsPerGeneration) % numGenerations !== 0) {
    const note = stepsPerGeneration === 1 ? '' : ` times ${stepsPerGeneration} steps a generation`;
    throw indivisible('per_device_train_batch_size', size, 'num_generations', numGenerations, numGenerations / gcd(numGenerations, stepsPerGeneration), note);
  }
  const perGeneration = stepsPerGeneration * numIterations; // micro-batches that one generation serves
  if (perGeneration % accumulation !== 0 && accumulation % perGeneration !== 0) {
    throw new EspalierError('bad_config', `a generation serves ${perGeneration} micro-batches (\`steps_per_generation\` × \`num_iterations\`) and \`gradient_accumulation_steps\` is ${accumulation}: optimiser steps would straddle generations`, {
      fix: 'one must divide the other',
    });
  }
  const generations = Math.max(1, accumulation / perGeneration);
  const promptsPerGeneration = (size * stepsPerGeneration) / numGenerations;
  return { microBatchSize: size, stepsPerGeneration, generations, promptsPerGeneration, prompts: promptsPerGeneration * generations, updates: Math.max(1, perGeneration / accumulation) };
}

function indivisible(name: string, value: number, byName: string, by: number, unit: number, note = ''): EspalierError {
  const below = Math.floor(value / unit) * unit;
  return new EspalierError('bad_config', `\`${name}\` ${value}${note} is not divisible by \`${byName}\` ${by}`, { fix: `${below > 0 ? `${below} or ${below + unit}` : unit} would be` });
}

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));
