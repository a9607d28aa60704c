import type { Completion, Message, RewardSample, RolloutEngine, SamplingOptions, Trajectory } from '@espalier/spec';
import { collectEpisodes } from './episodes/collect-episodes';

/** A row whose prompt is to be sampled from. */
export interface RolloutPrompt<Row = Record<string, unknown>> {
  /** Distinct among the prompts of one call; names the group. */
  id: string;
  prompt: string | readonly Message[];
  /** Token ids of the prompt; see `encodePrompt`. */
  tokens: Int32Array;
  row: Row;
  seed: number;
}

/** The samples of one prompt, by index. */
export interface RolloutGroup<Row = Record<string, unknown>> {
  prompt: RolloutPrompt<Row>;
  completions: readonly Completion[]; // [n]
  trajectories: readonly Trajectory[]; // [n]
}

export interface CollectOptions {
  /** Samples a prompt. Default 1. */
  n?: number;
  sampling?: SamplingOptions;
  signal?: AbortSignal;
  /** Told about each completion as it ends: for progress. */
  onCompletion?(completion: Completion, done: number, total: number): void;
}

/**
 * Samples every prompt `n` times and gives the groups in the order of the prompts.
 * @throws EspalierError `aborted` when the signal fires (nothing half done is returned), `bad_data` for two prompts of one id, and what the engine throws
 * @example
 * const groups = await collectGroups(rollouts, prompts, { n: 8, sampling: { maxNewTokens: 24 } });
 */
export async function collectGroups<Row>(engine: RolloutEngine, prompts: readonly RolloutPrompt<Row>[], options: CollectOptions = {}): Promise<RolloutGroup<Row>[]> {
  const { n, sampling, signal, onCompletion } = options;
  const groups = await collectEpisodes(engine, prompts, { ...(n === undefined ? {} : { n }), sampling, signal, onEpisode: ({ completion }, done, total) => onCompletion?.(completion, done, total) });
  return groups.map(({ episodes }, i) => ({ prompt: prompts[i], completions: episodes.map(({ completion }) => completion), trajectories: episodes.map(({ trajectory }) => trajectory) }));
}

/** The samples of the groups as reward functions take them: group after group, sample after sample. */
export function rewardSamples<Row>(groups: readonly RolloutGroup<Row>[]): RewardSample<Row>[] {
  return groups.flatMap(({ prompt, completions }) =>
    completions.map(({ text, tokens, finishReason }) => ({ prompt: prompt.prompt, completion: text, completionTokens: tokens, finishReason, group: prompt.id, row: prompt.row })),
  );
}
