import { toTrajectory } from '@espalier/engine/local';
import { EspalierError, throwIfAborted, type Completion, type Message, type RewardSample, type RolloutEngine, type SamplingOptions, type Trajectory } from '@espalier/spec';

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
  const { n = 1, sampling, signal, onCompletion } = options;
  throwIfAborted(signal);
  const completions = new Map<string, (Completion | undefined)[]>();
  for (const { id } of prompts) {
    if (completions.has(id)) throw new EspalierError('bad_data', `two prompts have the id "${id}"`, { fix: 'number them' });
    completions.set(id, new Array<Completion | undefined>(n).fill(undefined));
  }
  const total = prompts.length * n;
  let done = 0;
  const requests = prompts.map(({ id, tokens, seed }) => ({ id, prompt: tokens, n, seed, sampling }));
  for await (const completion of engine.generate(requests, { signal })) {
    const group = completions.get(completion.requestId);
    if (!group || completion.index < 0 || completion.index >= n) throw new EspalierError('internal', `rollout engine "${engine.name}" gave sample ${completion.index} of "${completion.requestId}", which nobody asked for`);
    group[completion.index] = completion;
    onCompletion?.(completion, ++done, total);
  }
  throwIfAborted(signal);
  return prompts.map((prompt) => {
    const group = completions.get(prompt.id)!.map((completion, k) => {
      if (!completion) throw new EspalierError('internal', `rollout engine "${engine.name}" gave no sample ${k} of "${prompt.id}"`);
      return completion;
    });
    return { prompt, completions: group, trajectories: group.map((completion) => toTrajectory(prompt, completion)) };
  });
}

/** The samples of the groups as reward functions take them: group after group, sample after sample. */
export function rewardSamples<Row>(groups: readonly RolloutGroup<Row>[]): RewardSample<Row>[] {
  return groups.flatMap(({ prompt, completions }) =>
    completions.map(({ text, tokens, finishReason }) => ({ prompt: prompt.prompt, completion: text, completionTokens: tokens, finishReason, group: prompt.id, row: prompt.row })),
  );
}
