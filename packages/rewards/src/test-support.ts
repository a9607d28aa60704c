import type { RewardContext, RewardFunction, RewardSample } from '@espalier/spec';

/** A sample with little in it. */
export const sampleOf = (completion: string, row: Record<string, unknown> = {}, more: Partial<RewardSample> = {}): RewardSample => ({
  prompt: 'p', completion, completionTokens: Int32Array.from([...completion], (c) => c.codePointAt(0)!), finishReason: 'stop', group: 'g', row, ...more,
});

export const scoreAll = (reward: RewardFunction, samples: readonly RewardSample[], context: Partial<RewardContext> = {}) => reward.score(samples, { step: 0, ...context });

/** The numbers alone. */
export const totals = async (reward: RewardFunction, samples: readonly RewardSample[], context: Partial<RewardContext> = {}) => (await scoreAll(reward, samples, context)).map((score) => (score === null || typeof score === 'number' ? score : score.total));

/** Numbers in [0, 1) that are the same every time: xorshift. */
export function randomNumbers(seed: number): () => number {
  let x = seed | 1;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) / 0x1_0000_0000;
  };
}
