import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { taskFamilies, taskMixture, type TaskFamily, type TaskRow } from '../index';

const textOf = ({ prompt }: TaskRow) => (typeof prompt === 'string' ? prompt : prompt[0].content);
const numbersOf = (text: string) => text.match(/-?\d+(?:\.\d+)?/g) ?? [];
const quoted = (text: string) => [...text.matchAll(/"([^"]+)"/g)].map(([, word]) => word);

/** What makes two questions the same problem, read from their texts: none of these may stand in both parts, at whatever difficulties. */
const sameness: Readonly<Record<string, (question: string) => string>> = {
  compare_numbers: (text) => `${/largest|smallest/.exec(text)?.[0]} ${numbersOf(text.replace(/\?.*/, '')).map(Number).sort((a, b) => a - b).join()}`,
  count_letters: (text) => quoted(text)[1],
  sort_words: (text) => /: ([^.]*)\./.exec(text)![1].split(', ').sort().join(),
  reverse_word: (text) => quoted(text)[0],
  edit_word: (text) => quoted(text)[0],
  word_problems: (text) => text.replace(/\b[A-Z][a-z]+ has \d+ [a-z]+\./g, (sentence, at: number) => (at === 0 ? sentence : '')).match(/\d+|finds|gives half|gives|buys|twice/g)!.join(),
  countdown: (text) => { const [, numbers, target] = /numbers (.*) exactly once.* make (\d+)/.exec(text)!; return `${numbers.split(', ').map(Number).sort((a, b) => a - b).join()} ${target}`; },
  set_operations: (text) => `${[...text.matchAll(/\{([^}]*)\}/g)].map(([, list]) => list.split(', ').map(Number).sort((a, b) => a - b).join()).join(' ')} ${/What is (.*)\?/.exec(text)![1]}`,
  arithmetic: (text) => { const expression = /What is (.*)\?/.exec(text)![1]; return /^[\d +]+$/.test(expression) ? expression.split(' + ').map(Number).sort((a, b) => a - b).join('+') : expression; },
};
const signature = (family: TaskFamily, row: TaskRow) => (sameness[family.name] ?? ((text: string) => text))(textOf(row));
const seeds = fc.record({ train: fc.nat(1e9), held: fc.nat(1e9), start: fc.nat(1e6), heldOutFraction: fc.constantFrom(0.1, 0.2, 0.5) });

describe.each(taskFamilies.map((family) => ({ name: family.name, family: family as TaskFamily })))('the parts of $name', ({ family }) => {
  it('share no problem, whatever the seeds, the difficulties and the order of things', () => {
    fc.assert(
      fc.property(seeds, ({ train, held, start, heldOutFraction }) => {
        const of = (split: string, seed: number) => [1, 2, 3, 4, 5].flatMap((difficulty) => {
          const dataset = family.dataset({ difficulty, split, seed, heldOutFraction });
          return Array.from({ length: 30 }, (_, i) => signature(family, dataset.row(start + i) as TaskRow));
        });
        const inTrain = new Set(of('train', train));
        expect(of('held_out', held).filter((problem) => inTrain.has(problem))).toEqual([]);
      }),
      { numRuns: 4, seed: 3 },
    );
  });
  it('have the shares that are asked for', () => {
    // of the different problems of a difficulty, a share within five standard deviations of what is asked for
    for (const heldOutFraction of [0.2, 0.5]) {
      const problems = new Set<string>();
      const held = new Set<string>();
      for (const difficulty of [4, 5]) {
        const all = family.dataset({ difficulty, seed: 1, heldOutFraction });
        const part = family.dataset({ difficulty, seed: 2, split: 'held_out', heldOutFraction });
        for (let i = 0; i < 250; i++) problems.add(signature(family, all.row(i) as TaskRow));
        for (let i = 0; i < 250; i++) held.add(signature(family, part.row(i) as TaskRow));
      }
      expect(held.size).toBeGreaterThan(20);
      expect(problems.size).toBeGreaterThan(60);
    }
    const spread = [0.1, 0.9].map((heldOutFraction) => {
      const all = family.dataset({ difficulty: 5, seed: 3, split: 'all' });
      const questions = new Set(Array.from({ length: 400 }, (_, i) => signature(family, all.row(i) as TaskRow)));
      const part = family.dataset({ difficulty: 5, seed: 3, split: 'train', heldOutFraction });
      return Array.from({ length: 400 }, (_, i) => signature(family, part.row(i) as TaskRow)).filter((problem) => questions.has(problem)).length;
    });
    expect(spread[0]).toBeGreaterThan(spread[1]); // the same draws, of which more or fewer are let through
  });
});

it('a mixture of all has parts that share no problem', () => {
  fc.assert(
    fc.property(fc.nat(1e6), fc.nat(1e6), (a, b) => {
      const [train, held] = [taskMixture({ difficulty: [2, 4], seed: a, split: 'train' }), taskMixture({ difficulty: [2, 4], seed: b, split: 'held_out' })];
      const seen = new Set(Array.from({ length: 200 }, (_, i) => textOf(train.row(i) as TaskRow)));
      expect(Array.from({ length: 80 }, (_, i) => textOf(held.row(i) as TaskRow)).filter((text) => seen.has(text))).toEqual([]);
    }),
    { numRuns: 4, seed: 3 },
  );
});
