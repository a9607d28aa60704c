import type { Completion, Trajectory } from '@espalier/spec';
import { promptText, type PromptText } from './encode-prompt';

/**
 * What the policy did on one prompt, as the algorithms take it: prompt and completion in one sequence, the completion marked as sampled.
 * Token ids go through as they are.
 */
export function toTrajectory(prompt: { id: string; prompt: PromptText; tokens: Int32Array; seed: number }, completion: Completion): Trajectory {
  const start = prompt.tokens.length;
  const end = start + completion.tokens.length;
  const tokens = new Int32Array(end);
  tokens.set(prompt.tokens);
  tokens.set(completion.tokens, start);
  let samplerLogps: Float32Array | null = null;
  if (completion.logps) {
    samplerLogps = new Float32Array(end).fill(NaN);
    samplerLogps.set(completion.logps, start);
  }
  return {
    id: `${prompt.id}/${completion.index}`,
    group: prompt.id,
    seed: prompt.seed,
    tokens,
    trainable: new Uint8Array(end).fill(1, start),
    samplerLogps,
    versions: [{ version: completion.version, start, end }],
    turns: [
      { role: 'user', content: promptText(prompt.prompt), start: 0, end: start },
      { role: 'assistant', content: completion.text, start, end },
    ],
    finishReason: completion.finishReason,
  };
}
