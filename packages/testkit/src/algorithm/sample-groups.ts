import type { ScoredTrajectory } from '@espalier/spec';
import { randomNumbers } from '../random-numbers';

/**
 * A trajectory of given token ids; log-probs of the sampler are a function of the tokens.
 * @example
 * sampleTrajectory('a/0', [5, 6], [7, 2], { rewards: { right: 0.5 } });
 */
export function sampleTrajectory(id: string, prompt: readonly number[], completion: readonly number[], more: Partial<ScoredTrajectory> = {}): ScoredTrajectory {
  const tokens = Int32Array.from([...prompt, ...completion]);
  return {
    id, group: id.split('/')[0], seed: 7, tokens,
    trainable: Uint8Array.from(tokens, (_, t) => Number(t >= prompt.length)),
    samplerLogps: Float32Array.from(tokens, (token, t) => (t >= prompt.length ? -0.2 - (token % 9) / 8 : NaN)),
    versions: [{ version: 1, start: prompt.length, end: tokens.length }],
    turns: [], finishReason: 'stop', rewards: { right: 1 }, row: { answer: '5' }, ...more,
  };
}

/**
 * Two groups of three, of different lengths, one cut off, with rewards that differ inside each.
 * @example
 * describeAlgorithm(mine, { groups: () => sampleGroups({ rewards: [[1, 0, null], [0.5, 0.5, 1]] }) });
 */
export function sampleGroups(options: { rewards?: readonly (readonly (number | null)[])[]; seed?: number } = {}): ScoredTrajectory[][] {
  const { rewards = [[1, 0, 0.25], [-0.5, 2, 0]], seed = 3 } = options;
  const random = randomNumbers(seed);
  const tokens = (length: number) => Array.from({ length }, () => Math.floor(random(3, 40)));
  return rewards.map((row, g) => {
    const prompt = tokens(2 + g);
    return row.map((right, k) => sampleTrajectory(`g${g}/${k}`, prompt, tokens(1 + ((2 * k + g) % 5)), { rewards: { right }, finishReason: k === 1 ? 'length' : 'stop' }));
  });
}
