import { defineJudge, throwIfAborted, type Comparison, type Judge, type Preference } from '@espalier/spec';

function preference({ prompt, first, second, question, seed }: Comparison): Preference | null {
  if (first === '' || second === '') return null;
  return { probability: 1 / (1 + Math.exp((first.length - second.length) / 50)), details: { asked: question ?? null, seed: seed ?? null, turns: typeof prompt === 'string' ? 1 : prompt.length } };
}

/** Prefers the shorter answer, one by one and many at once. */
export function brevityJudge(_options?: Record<string, unknown>): Judge {
  return defineJudge({
    name: 'brevity',
    async compare(comparison: Comparison, options: { signal?: AbortSignal } = {}): Promise<Preference | null> {
      throwIfAborted(options.signal);
      return preference(comparison);
    },
    async compareAll(comparisons, options = {}) {
      throwIfAborted(options.signal);
      return comparisons.map(preference);
    },
  });
}
