import type { RewardFunction, RewardSample } from '@espalier/spec';

export const sampleOf = (completion: string, row: Record<string, unknown> = {}): RewardSample => ({ prompt: 'p', completion, completionTokens: new Int32Array(0), finishReason: 'stop', group: 'g', row });
export const scoreOf = async (reward: RewardFunction, completion: string, row: Record<string, unknown>) => (await reward.score([sampleOf(completion, row)], { step: 0 }))[0];
