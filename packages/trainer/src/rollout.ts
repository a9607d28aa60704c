import { toTrajectory } from '@espalier/engine/local';
import { EspalierError, type Completion, type GenerateRequest, type RewardSample, type RolloutEngine, type SamplingOptions, type Trajectory } from '@espalier/spec';
import type { EncodedPrompt } from './prompts';

/** Completions of one prompt, in the order of their index. */
export interface PromptCompletions {
  prompt: EncodedPrompt;
  request: GenerateRequest;
  completions: readonly Completion[];
}

/**
 * `n` completions of each prompt, in the order of the prompts whatever order they finish in.
 * @throws EspalierError `aborted` when the signal fires; `internal` when the engine leaves a completion out
 */
export async function collectCompletions(
  rollouts: RolloutEngine,
  prompts: readonly EncodedPrompt[],
  options: { n: number; seed: (prompt: number) => number; id: (prompt: number) => string; sampling: SamplingOptions; signal?: AbortSignal; onCompletion?: (done: number) => void },
): Promise<PromptCompletions[]> {
  const { n, signal } = options;
  const requests = prompts.map(({ tokens }, i): GenerateRequest => ({ id: options.id(i), prompt: tokens, n, seed: options.seed(i), sampling: options.sampling }));
  const index = new Map(requests.map((request, i) => [request.id, i]));
  const completions = prompts.map(() => new Array<Completion | undefined>(n));
  let done = 0;
  for await (const completion of rollouts.generate(requests, { signal })) {
    const prompt = index.get(completion.requestId);
    if (prompt === undefined || !(completion.index >= 0 && completion.index < n)) throw new EspalierError('internal', `rollout engine "${rollouts.name}" gave completion ${completion.index} of request "${completion.requestId}", which was not asked for`);
    completions[prompt][completion.index] = completion;
    options.onCompletion?.(++done);
  }
  if (signal?.aborted) throw new EspalierError('aborted', 'generation was aborted', { cause: signal.reason });
  return prompts.map((prompt, i) => {
    const missing = completions[i].findIndex((completion) => completion === undefined || completion.finishReason === 'aborted');
    if (missing >= 0 || completions[i].length !== n) throw new EspalierError('internal', `rollout engine "${rollouts.name}" ${completions[i][missing] ? 'aborted' : 'left out'} completion ${missing} of prompt ${i}`);
    return { prompt, request: requests[i], completions: completions[i] as Completion[] };
  });
}

/** A completion as a trajectory: the prompt's tokens, then those that the policy sampled. */
export function completionTrajectory({ prompt, request }: PromptCompletions, completion: Completion): Trajectory {
  return toTrajectory({ id: request.id, prompt: prompt.prompt, tokens: prompt.tokens, seed: request.seed }, completion);
}

/** A completion as reward functions see it. */
export function toRewardSample({ prompt, request }: PromptCompletions, completion: Completion): RewardSample {
  return { prompt: prompt.prompt, completion: completion.text, completionTokens: completion.tokens, finishReason: completion.finishReason, group: request.id, row: prompt.row };
}
