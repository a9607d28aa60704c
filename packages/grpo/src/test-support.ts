import type { ExperienceContext, Learner, OutputName, ScoredTrajectory, TokenBatch } from '@espalier/spec';

let made = 0;

/** A trajectory whose sampler's log-prob of the token at position t is −t / 4. */
export function trajectory(prompt: number[], completion: number[], rewards: ScoredTrajectory['rewards'], extra: Partial<ScoredTrajectory> = {}): ScoredTrajectory {
  const tokens = Int32Array.from([...prompt, ...completion]);
  return {
    id: `t${made++}`, group: prompt.join(), seed: 0, tokens, trainable: Uint8Array.from(tokens, (_, t) => Number(t >= prompt.length)),
    samplerLogps: Float32Array.from(tokens, (_, t) => (t >= prompt.length ? -t / 4 : NaN)), versions: [], turns: [], finishReason: 'stop', rewards, ...extra,
  };
}

/** A learner whose log-probs are −token / 8, and −token / 16 for the reference; it keeps what it was asked. */
export function fakeLearner() {
  const calls: { needs: readonly OutputName[]; reference: boolean; temperature: number | undefined }[] = [];
  const learner = {
    specVersion: 'v1',
    async forward(batch: TokenBatch, needs: readonly OutputName[], options: { reference?: boolean; temperature?: number } = {}) {
      calls.push({ needs, reference: options.reference ?? false, temperature: options.temperature });
      return { logps: Float32Array.from(batch.actionIndex, (t) => -batch.tokens[t] / (options.reference ? 16 : 8)) };
    },
  } as unknown as Learner;
  return { learner, calls };
}

export const context = (learner: Learner, extra: Partial<ExperienceContext> = {}): ExperienceContext => ({ step: 0, learner, rewardWeights: {}, maxCompletionLength: 4, temperature: 0.7, ...extra });
