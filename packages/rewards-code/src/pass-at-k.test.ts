import { describe, expect, it } from 'vitest';
import { nAtK, passAtK } from './index';

/** All ways to draw k of the list. */
function* draws<T>(list: readonly T[], k: number, from = 0): Generator<T[]> {
  if (k === 0) return yield [];
  for (let i = from; i <= list.length - k; i++) for (const rest of draws(list, k - 1, i + 1)) yield [list[i], ...rest];
}
function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
const kinds = (samples: number, passing: number, correct: number) => Array.from({ length: samples }, (_, i) => (i < correct ? 'right' : i < passing ? 'passes' : 'fails'));

describe('passAtK', () => {
  it('is the share of all draws that hold a right sample', () => {
    for (const samples of [1, 2, 5, 7]) {
      for (let correct = 0; correct <= samples; correct++) {
        for (let k = 1; k <= samples; k++) {
          const counted = mean([...draws(kinds(samples, correct, correct), k)].map((draw) => Number(draw.includes('right'))));
          expect(passAtK({ samples, correct }, k)).toBeCloseTo(counted, 12);
        }
      }
    }
  });
  it('large counts neither overflow nor cancel', () => {
    expect(passAtK({ samples: 100_000, correct: 1 }, 10)).toBeCloseTo(1e-4, 10);
    expect(passAtK({ samples: 1_000_000, correct: 0 }, 1000)).toBe(0);
  });
  it('refuses what is no count', () => {
    for (const [counts, k] of [[{ samples: 5, correct: 6 }, 1], [{ samples: 5, correct: 1 }, 6], [{ samples: 5, correct: 1 }, 0], [{ samples: 5, correct: 0.5 }, 1], [{ samples: 5, correct: NaN }, 1]] as const) expect(() => passAtK(counts, k)).toThrow('correct ≤ samples');
  });
});

describe('nAtK', () => {
  it('is the share of all draws, and all choices of submissions among what passes, that hold a right sample', () => {
    for (const [samples, passing, correct] of [[6, 4, 2], [6, 6, 1], [7, 3, 3], [5, 0, 0], [6, 5, 0], [4, 1, 1]]) {
      for (let k = 1; k <= samples; k++) {
        for (let n = 1; n <= k; n++) {
          const counted = mean(
            [...draws(kinds(samples, passing, correct), k)].map((draw) => {
              const submittable = draw.filter((kind) => kind !== 'fails');
              return mean([...draws(submittable, Math.min(n, submittable.length))].map((chosen) => Number(chosen.includes('right'))));
            }),
          );
          expect(nAtK({ samples, passing, correct }, n, k)).toBeCloseTo(counted, 10);
        }
      }
    }
  });
  it('with n = k, and all passing, it is pass@k', () => expect(nAtK({ samples: 40, passing: 40, correct: 7 }, 9, 9)).toBeCloseTo(passAtK({ samples: 40, correct: 7 }, 9), 10));
  it('large counts', () => {
    const chance = nAtK({ samples: 100_000, passing: 1000, correct: 300 }, 10, 10_000);
    expect(chance).toBeGreaterThan(0.96); // 1 − 0.7^10 ≈ 0.972
    expect(chance).toBeLessThan(0.98);
  });
  it('refuses what is no count', () => expect(() => nAtK({ samples: 5, passing: 2, correct: 3 }, 1, 1)).toThrow('correct ≤ passing ≤ samples'));
});
