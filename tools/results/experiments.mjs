// What docs/results.md reports: runs of `espalier rpt` with a configuration of examples/rpt, and what their models are measured on before and after.

export const model = '.cache/models/SmolLM2-135M-Instruct.Q4_1.gguf';
export const news = '.cache/texts/news-held-out.jsonl';

/** Held-out problems of the families that are trained on, and of two that are not. Their seed is none of a run's. */
export const tasks = Object.fromEntries(
  Object.entries({ sums: 'arithmetic:difficulty=2', word_problems: 'word_problems:difficulty=1', count_letters: 'count_letters:difficulty=1', compare_numbers: 'compare_numbers:difficulty=2', sort_words: 'sort_words:difficulty=1' }).map(([name, family]) => [name, `${family},split=held_out,seed=1000,size=200`]),
);

export const codeRows = 'code:split=held_out,seed=1000,size=200';

/** `own`: the task that a run is about. */
export const experiments = [
  { id: 'sums', config: 'sums', own: 'sums', title: 'Sums of two numbers from 2 to 50' },
  { id: 'word-problems', config: 'word-problems', own: 'word_problems', title: 'Word problems of one event' },
  { id: 'count-letters', config: 'count-letters', own: 'count_letters', title: 'How often a letter stands in a word' },
  { id: 'code', config: 'code', own: 'code', title: 'Small TypeScript functions' },
  { id: 'information-gain', config: 'information-gain', corpus: true, title: 'Information gain (RLP) on news' },
  { id: 'next-token', config: 'next-token', corpus: true, title: 'Next-token reasoning (Microsoft RPT) on news' },
];
