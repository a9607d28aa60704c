import type { RewardSample } from '@espalier/spec';

/** A sample to be scored; what is left out has a default. */
export function rewardSample<Row = Record<string, unknown>>(more: Partial<RewardSample<Row>> & { tokens?: number } = {}): RewardSample<Row> {
  const { tokens = 4, ...fields } = more;
  return { prompt: 'What is 2 + 3?', completion: 'It is 5.', completionTokens: Int32Array.from({ length: tokens }, (_, t) => 3 + ((t * 7) % 11)), finishReason: 'stop', group: 'a', row: { answer: '5' } as Row, ...fields };
}

/**
 * Samples as they come: right and wrong, empty, cut off, aborted, in other scripts, from chats, from rows that lack the column.
 * @example
 * describeRewardFunction(mine, { samples: [...defaultRewardSamples(), rewardSample({ row: { unitTests: ['f(1) === 2'] } })] });
 */
export function defaultRewardSamples(): RewardSample[] {
  return [
    rewardSample(),
    rewardSample({ completion: 'It is 6.', tokens: 5 }),
    rewardSample({ group: 'b', prompt: [{ role: 'user', content: 'Name the capital of France.' }], completion: '<think>Lyon?</think> Paris', row: { answer: 'Paris' }, tokens: 9 }),
    rewardSample({ group: 'b', prompt: [{ role: 'user', content: 'Name the capital of France.' }], completion: '', row: { answer: 'Paris' }, tokens: 0, finishReason: 'aborted' }),
    rewardSample({ group: 'c', completion: 'word '.repeat(200), row: {}, tokens: 400, finishReason: 'length' }),
    rewardSample({ group: 'c', completion: 'çok güzel 数学 🙂\u0000\n', row: { answer: null }, tokens: 12, finishReason: 'turns' }),
  ];
}
