import type { Engine } from '@espalier/engine';
import type { DecoderConfig, Tokenizer } from '@espalier/models';
import type { ModelArgumentsInput } from './arguments';
import type { Policy, PolicyEngineOptions } from './policy';

/** What is known of a model before its weights are read. */
export interface PlannedModel {
  /** As it was named. */
  reference: string;
  config: DecoderConfig;
  tokenizer: Tokenizer;
}

/**
 * What a run would do, reckoned from its arguments, its rows and the model's configuration and tokenizer: no weights are read, nothing is written. "Sequences" are
 * what a batch counts: rows, packed rows, pairs, or completions.
 */
export interface RunPlan {
  trainer: string;
  /** Whether sequences are given or sampled. */
  kind: 'rows' | 'completions';
  model: PlannedModel;
  /** Rows of the dataset; null where they come as a stream, or a task has no end. */
  rows: number | null;
  evalRows: number;
  /** What the rows become: fewer where they are packed or left out, more where a row holds several. Null as `rows`. */
  sequences: number | null;
  perDeviceTrainBatchSize: number;
  gradientAccumulationSteps: number;
  /** Sequences an optimiser step. */
  effectiveBatch: number;
  steps: number;
  /** Null where the rows have no end. */
  stepsPerEpoch: number | null;
  epochs: number | null;
  tokens: {
    /** Rows that were tokenised to know; the rest is taken to be like them. */
    measuredRows: number;
    /** Of a sequence; of completions the prompt with the longest completion that is allowed. */
    mean: number;
    longest: number;
    /** Of the largest micro-batch. */
    microBatch: number;
    /** Computed in an optimiser step, a prompt that a group shares counted once. */
    step: number;
    /** Positions of those whose log-probs are asked for. */
    actionsStep: number;
  };
  /** How completions are made: of a round, which serves `updates` optimiser steps. */
  generation: { prompts: number; numGenerations: number; completions: number; updates: number; promptTokens: number; longestPrompt: number; maxNewTokens: number } | null;
  gradientCheckpointing: boolean;
  lora: { rank: number; targets: readonly string[] | null } | null;
  /** A frozen copy of the first weights. Adapters need none. */
  reference: boolean;
  /** Models that are trained beside the policy (a critic). */
  critics: number;
  engine: PolicyEngineOptions;
  teacher: PlannedModel | null;
}

/** At most this many rows are tokenised for a plan. */
export const plannedRows = 2048;

/** @throws EspalierError as opening a checkpoint does */
export async function readPlannedModel(reference: string): Promise<PlannedModel> {
  const { openCheckpoint } = await import('@espalier/models'); // loaded when a model is
  const checkpoint = await openCheckpoint(reference);
  try {
    return { reference, config: checkpoint.config, tokenizer: checkpoint.tokenizer };
  } finally {
    checkpoint.close();
  }
}

/** The model of a trainer: read from disk, or that of an engine that is open. */
export async function plannedModelOf(model: string | Engine): Promise<PlannedModel> {
  return typeof model === 'string' ? readPlannedModel(model) : { reference: 'an open engine', config: model.info.config, tokenizer: model.tokenizer };
}

/** A policy without weights: tokenizer and limits, which are all that turning rows into sequences asks for. */
export function policyOnPaper({ config, tokenizer }: PlannedModel, teacher: PlannedModel | null): Policy {
  const info = { id: 'plan', backend: 'none', precision: 'fp32', config, parameterCount: 0, trainableCount: 0, eosTokenIds: config.eosTokenIds, maxPositions: config.maxPositions, ...(teacher ? { teacher: { parameterCount: 0, maxPositions: teacher.config.maxPositions } } : {}) };
  return { engine: { info, tokenizer } as unknown as Engine, config: null, close: async () => undefined } as unknown as Policy;
}

/** Row numbers to look at: all of a small dataset, evenly spread ones of a large one, the first ones of one without an end. */
export function sampledRows(size: number): number[] {
  const count = Math.min(size, plannedRows);
  return Array.from({ length: count }, (_, i) => (Number.isFinite(size) ? Math.floor((i * size) / count) : i));
}

/** The adapters that model arguments ask for. */
export const adaptersOf = (args: ModelArgumentsInput = {}): RunPlan['lora'] => (args.usePeft ? { rank: args.loraR ?? 16, targets: args.loraTargetModules ?? null } : null);
