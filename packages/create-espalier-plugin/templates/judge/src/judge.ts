import { defineJudge, EspalierError, throwIfAborted, type Judge } from '@espalier/spec';

export interface __PascalName__Options {
  /** How many words more make an answer the better one with odds of e to 1. Default 20. */
  scale?: number;
}

const words = (text: string) => text.split(/\s+/).filter((word) => word !== '').length;

/**
 * Prefers the shorter answer: the probability that `first` is better is σ((words of second − words of first) / scale). `null` where one of them is empty: the
 * pair is left out and counted, never a draw.
 *
 * @throws EspalierError `bad_config`
 * @example
 * const preference = await __camelName__Judge().compare({ prompt: 'Is ice cold?', first: 'Yes.', second: 'It depends on what you mean.' });
 */
export function __camelName__Judge(options: __PascalName__Options = {}): Judge {
  const scale = Number(options.scale ?? 20);
  if (!(scale > 0 && scale < Infinity)) throw new EspalierError('bad_config', `__name__: \`scale\` is ${JSON.stringify(options.scale)}`, { fix: 'a number above 0' });
  return defineJudge({
    name: '__name__',
    async compare({ first, second }, { signal } = {}) {
      throwIfAborted(signal);
      const [a, b] = [words(first), words(second)];
      if (a === 0 || b === 0) return null;
      return { probability: 1 / (1 + Math.exp((a - b) / scale)), details: { words: [a, b] } };
    },
  });
}
