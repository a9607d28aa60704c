/** A message of a conversation, in the chat format that TRL and `transformers` use. */
export interface Message {
  role: string;
  content: string;
  [extra: string]: unknown;
}

/** One turn of a conversation with its place in the token sequence: `tokens[start .. end)`. */
export interface Turn {
  role: string;
  content: string;
  start: number;
  end: number;
}

export type FinishReason = 'stop' | 'length' | 'aborted' | 'turns';

/** What a policy did on one prompt, as token ids: decoded text is never tokenised again. */
export interface Trajectory {
  id: string;
  /** Trajectories of one prompt share their group. */
  group: string;
  seed: number;
  /** Prompt and completion. */
  tokens: Int32Array;
  /** 1: sampled by the policy; 0: prompt, tool output, environment. As long as `tokens`. */
  trainable: Uint8Array;
  /** Log-probs (nats) under the sampler, as long as `tokens`, NaN where not sampled; null when the sampler gives none. */
  samplerLogps: Float32Array | null;
  /** Which weights sampled which tokens: a trajectory may span versions. */
  versions: readonly { version: number; start: number; end: number }[];
  turns: readonly Turn[];
  finishReason: FinishReason;
}
