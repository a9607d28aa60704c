/**
 * What a problem earns its proposer. `edge`: 1 − pass rate, but 0 where nobody solves it (PretrainZero, 2512.03442): the most for what is solved now and then, nothing for
 * what is impossible. `zero-sum`: 1 − pass rate, what the solver loses.
 *
 * @param passRate share of right attempts, 0 to 1
 * @param occurrences how often the round proposed this problem: they share what it earns
 * @example
 * proposerReward(0.25, 'edge'); // 0.75
 * proposerReward(0, 'edge'); // 0
 */
export function proposerReward(passRate: number, kind: 'edge' | 'zero-sum', occurrences = 1): number {
  const earned = kind === 'edge' && passRate === 0 ? 0 : 1 - passRate;
  return earned / occurrences;
}
