import type { PromptText } from '@espalier/engine/local';
import type { Completion, EspalierError, FinishReason, Message, Reward, RewardSample, Trajectory } from '@espalier/spec';

/** A row to act on. Without an environment it says its prompt and that prompt's ids. */
export interface EpisodeTask<Row = Record<string, unknown>> {
  /** Distinct among the tasks of one call; names the group. */
  id: string;
  row: Row;
  /** Of everything random in the group's episodes: the environment's beginning, the policy's replies. */
  seed: number;
  /** What the policy is asked. With an environment that says it. */
  prompt?: PromptText;
  tokens?: Int32Array;
}

/** What the policy did from a prompt to the end: a single completion, or replies with what an environment answered between them. */
export interface Episode {
  /** 0 .. n - 1 in its group. */
  index: number;
  /** What the policy was asked first. */
  prompt: PromptText;
  trajectory: Trajectory;
  /** One a turn. */
  replies: readonly Completion[];
  /** What was said after the prompt, replies included. */
  messages: readonly Message[];
  /** All sampled ids, and the sampler's log-probs of them; `text` is the last reply's. */
  completion: Completion;
  /** What the environment gave, summed over its steps; null: nothing applied, or there is none. */
  reward: Reward | null;
  toolCalls: { made: number; failed: number };
  finishReason: FinishReason;
  /** Why the environment could not go on: the episode is not to be learnt from. */
  failure: EspalierError | null;
}

/** The episodes of one task, by index. */
export interface EpisodeGroup<Row = Record<string, unknown>> {
  task: EpisodeTask<Row>;
  episodes: readonly Episode[]; // [n]
}

/** An episode as reward functions see it. */
export function episodeSample<Row>({ row, id }: EpisodeTask<Row>, episode: Episode, environment: boolean): RewardSample<Row> {
  const { prompt, completion, finishReason, messages } = episode;
  return { prompt, completion: completion.text, completionTokens: completion.tokens, finishReason, group: id, row, ...(environment ? { messages } : {}) };
}

/** What was said after the prompt, as one text to read: replies as they are, what came from elsewhere with its role before it. */
export function transcript(episode: Episode): string {
  return episode.messages.map(({ role, content }) => (role === 'assistant' ? content : `[${role}] ${content}`)).join('\n');
}
