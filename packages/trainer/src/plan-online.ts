import type { Dataset } from '@espalier/data';
import type { EnvironmentFactory } from '@espalier/rollouts';
import { EspalierError } from '@espalier/spec';
import { openDataset } from './datasets';
import { environmentOf, openEnvironment } from './environment/open-environment';
import { onlineSteps } from './online';
import { roundGeometry, type OnlineArguments } from './online-arguments';
import type { OnlineTrainerOptions, OnlineTrainerParts } from './online-trainer';
import type { OwningAlgorithm } from './owned-learners';
import { adaptersOf, plannedModelOf, sampledRows, type PlannedModel, type RunPlan } from './plan';
import { promptSource } from './prompts';

/** The plan of a trainer on rewards: prompts are tokenised, completions are reckoned at their longest. */
export async function planOnline(options: OnlineTrainerOptions, parts: OnlineTrainerParts, model?: PlannedModel): Promise<RunPlan> {
  const { args, algorithm } = parts;
  const owning: OwningAlgorithm = algorithm;
  const planned = model ?? (await plannedModelOf(options.model));
  const train = await openDataset(options.trainDataset, 'trainDataset');
  const evaluation = options.evalDataset === undefined ? null : await openDataset(options.evalDataset, 'evalDataset');
  const geometry = roundGeometry(args, algorithm.numIterations);
  const steps = onlineSteps(train.size, args, geometry);
  const maxNewTokens = args.maxCompletionLength;
  const room = planned.config.maxPositions - maxNewTokens;
  const factory = environmentOf(options, args);
  const prompts = promptSource(train, planned.tokenizer, { maxTokens: room });
  const lengths = factory ? await beginnings(factory, args, train, planned, room) : sampledRows(train.size).map((row) => prompts.at(row).tokens.length);
  if (lengths.length === 0) throw new EspalierError('bad_data', `${train.name} has no rows`);
  const promptTokens = lengths.reduce((a, b) => a + b, 0) / lengths.length;
  const longestPrompt = lengths.reduce((most, length) => Math.max(most, length), 0);
  const { perDeviceTrainBatchSize: size, gradientAccumulationSteps, numGenerations } = args;
  const effectiveBatch = size * gradientAccumulationSteps;
  const endless = !Number.isFinite(train.size);
  const stepsPerEpoch = endless ? null : onlineSteps(train.size, { maxSteps: -1, numTrainEpochs: 1 }, geometry);
  const lora = adaptersOf(options.modelArgs);
  return {
    trainer: parts.name,
    kind: 'completions',
    model: planned,
    rows: endless ? null : train.size,
    evalRows: evaluation && Number.isFinite(evaluation.size) ? evaluation.size : 0,
    sequences: endless ? null : train.size * numGenerations,
    perDeviceTrainBatchSize: size,
    gradientAccumulationSteps,
    effectiveBatch,
    steps,
    stepsPerEpoch,
    epochs: stepsPerEpoch === null ? null : steps / stepsPerEpoch,
    tokens: {
      measuredRows: lengths.length,
      mean: promptTokens + maxNewTokens,
      longest: longestPrompt + maxNewTokens,
      microBatch: Math.ceil(size * (promptTokens / Math.min(size, numGenerations) + maxNewTokens)),
      step: effectiveBatch * (promptTokens / Math.min(size, numGenerations) + maxNewTokens),
      actionsStep: effectiveBatch * maxNewTokens,
    },
    generation: { prompts: geometry.prompts, numGenerations, completions: geometry.prompts * numGenerations, updates: geometry.updates, promptTokens, longestPrompt, maxNewTokens },
    gradientCheckpointing: args.gradientCheckpointing,
    lora,
    reference: algorithm.needsReference && lora === null,
    critics: owning.openLearners && !owning.policyEngine?.scalarHead ? 1 : 0,
    engine: owning.policyEngine ?? {},
    teacher: null,
  };
}

/** Tokens with which episodes begin, of a few rows: an environment may be slow to begin. */
async function beginnings(factory: EnvironmentFactory, args: OnlineArguments, rows: Dataset, { tokenizer }: PlannedModel, room: number): Promise<number[]> {
  const { pool, conversation } = await openEnvironment(factory, args, tokenizer, room);
  try {
    const lengths: number[] = [];
    for (const row of sampledRows(rows.size).slice(0, 8)) {
      const environment = await pool.take();
      lengths.push(conversation.begin(await pool.reset(environment, rows.row(row), args.seed)).length);
      pool.give(environment);
    }
    return lengths;
  } finally {
    await pool.close();
  }
}
