import { describe, expect, it } from 'vitest';
import { datasetOf, decontaminate, dedupe, Random, type Dataset } from './index';
import { bandsFor, jaccard, MinHash } from './minhash';
import { ngrams, wordsOf } from './row-text';

const rows = (...texts: string[]) => datasetOf(texts.map((text) => ({ text })), 'rows', texts.map((_, i) => ({ file: 'rows.jsonl', line: i + 1 })));
const texts = (dataset: Dataset) => Array.from({ length: dataset.size }, (_, i) => dataset.row(i).text as string);

/** Texts of which many are others with some words changed, from hardly to wholly. */
function corpus(seed: number, size: number): string[] {
  const random = new Random(seed);
  const word = () => `w${random.int(0, 400)}`;
  const made: string[] = [];
  for (let i = 0; i < size; i++) {
    if (made.length === 0 || random.int(0, 2) === 0) made.push(Array.from({ length: random.int(1, 60) }, word).join(' '));
    else {
      const changes = random.int(0, 12);
      const words = random.pick(made).split(' ');
      for (let c = 0; c < changes; c++) words.splice(random.int(0, words.length - 1), random.int(0, 1), word());
      made.push(words.join(' '));
    }
  }
  return made;
}

/** The definition: in order, a row is left out when some row that stays is as similar. */
function bruteForce(all: readonly string[], threshold: number, n: number): number[] {
  const sets = all.map((text) => new Set(ngrams(wordsOf(text), n)));
  const kept: number[] = [];
  sets.forEach((set, i) => void (kept.some((j) => jaccard(set, sets[j]) >= threshold) || kept.push(i)));
  return kept;
}

describe('dedupe', () => {
  it.each([1, 2, 3, 4].flatMap((seed) => [[0.5, 3], [0.8, 5], [1, 2]].map(([threshold, ngram]) => ({ seed, threshold, ngram }))))('is what comparing all pairs gives: seed $seed, Jaccard $threshold, $ngram-grams', async ({ seed, threshold, ngram }) => {
    const all = corpus(seed, 300);
    const dataset = rows(...all);
    const { dataset: left, report } = await dedupe(dataset, { threshold, ngram, seed });
    for (const { row, of, similarity } of report.removed) {
      const [a, b] = [row, of.row].map((i) => new Set(ngrams(wordsOf(all[i]), ngram)));
      expect(jaccard(a, b)).toBe(similarity);
      expect(similarity).toBeGreaterThanOrEqual(threshold);
      expect(of.row).toBeLessThan(row);
      expect(report.removed.some((other) => other.row === of.row)).toBe(false); // what it repeats stays
    }
    expect(texts(left)).toEqual(bruteForce(all, threshold, ngram).map((i) => all[i]));
    expect(report.kept + report.removed.length).toBe(300);
    expect((await dedupe(dataset, { threshold, ngram, seed })).report).toEqual(report);
  });
  it('exact: case, punctuation and spaces aside, text by text', async () => {
    const { dataset, report } = await dedupe(rows('The sky, is  blue.', 'the SKY is blue', 'the sky is blue today', 'ＴＨＥ sky is blue', '日本', '日 本'), { method: 'exact' });
    expect(texts(dataset)).toEqual(['The sky, is  blue.', 'the sky is blue today', '日本']);
    expect(report.removed[0]).toEqual({ row: 1, origin: { file: 'rows.jsonl', line: 2 }, kind: 'exact', similarity: 1, of: { row: 0, origin: { file: 'rows.jsonl', line: 1 } } });
    const chats = datasetOf([{ prompt: 'a b', completion: 'c' }, { prompt: 'a', completion: 'b c' }, { messages: [{ role: 'user', content: 'a b' }, { role: 'assistant', content: 'C' }] }]);
    expect((await dedupe(chats, { method: 'exact' })).report.removed.map(({ row, of }) => [row, of.row])).toEqual([[2, 0]]);
  });
  it('takes time in proportion to the rows, where thousands share a boilerplate too', async () => {
    let compared = 0;
    const boilerplate = Array.from({ length: 40 }, (_, i) => `b${i}`).join(' ');
    const all = Array.from({ length: 3000 }, (_, i) => `${boilerplate} ${Array.from({ length: 30 }, (_, k) => `x${i}y${k}`).join(' ')}`);
    const dataset = rows(...all);
    await dedupe({ ...dataset, row: (i) => (compared++, dataset.row(i)) }, { threshold: 0.8 });
    expect(compared).toBeLessThan(3000 * 3); // of 4,500,000 pairs
  });
  it('signatures estimate similarity, and bands miss one pair in a thousand at most', () => {
    const [a, b] = [new Set(Array.from({ length: 300 }, (_, i) => `s${i}`)), new Set(Array.from({ length: 300 }, (_, i) => `s${i + 100}`))];
    const minHash = new MinHash(1024, 3);
    const [x, y] = [minHash.signature(a), minHash.signature(b)];
    // 0.5 with a standard deviation of 0.0156: four of them
    expect(Math.abs(x.filter((v, k) => v === y[k]).length / 1024 - jaccard(a, b))).toBeLessThan(0.0625);
    for (const threshold of [0.3, 0.5, 0.7, 0.8, 0.95, 1]) {
      const { bands, rows: size } = bandsFor(threshold, 128);
      expect((1 - threshold ** size) ** bands).toBeLessThanOrEqual(1e-3);
    }
  });
  it('refuses what makes no sense', async () => {
    await expect(dedupe(rows('a'), { threshold: 0 })).rejects.toThrow('`threshold` is 0');
    await expect(dedupe(rows('a'), { columns: ['body'] })).rejects.toThrow(/rows\.jsonl:1 has none of the columns body \(.*it has text\)/);
    await expect(dedupe(rows('a'), { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'aborted' });
  });
});

describe('decontaminate', () => {
  const words = (from: number, count: number) => Array.from({ length: count }, (_, i) => `v${from + i}`).join(' ');
  const evaluation = datasetOf([{ prompt: words(0, 30), answer: 'blue' }, { prompt: 'What is 2 + 3?' }, { messages: [{ role: 'user', content: words(100, 20) }, { role: 'assistant', content: words(200, 20) }] }], 'held out');

  it('leaves out rows that share a run of words, or a short text in whole', async () => {
    const train = rows(`intro ${words(5, 13).toUpperCase()}, outro`, words(5, 12), 'what is 2+3', 'Tell me: what is 2 + 3? And why?', 'blue', words(202, 15), `${words(110, 10)} ${words(0, 3)}`);
    const { dataset, report } = await decontaminate(train, [evaluation]);
    expect(report.removed.map(({ row, kind, of }) => [row, kind, of.row])).toEqual([[0, 'ngram', 0], [2, 'whole', 1]]);
    expect(report.removed[0]).toMatchObject({ match: words(5, 13), overlap: 1 / 18, of: { dataset: 'held out', origin: {} }, origin: { line: 1 } });
    expect(report).toMatchObject({ rows: 7, kept: 5, evaluationTexts: 3 });
    expect(dataset.size).toBe(5);
    expect((await decontaminate(train, [evaluation], { ngram: 8 })).report.removed.map(({ row }) => row)).toEqual([0, 1, 2, 6]);
    expect((await decontaminate(train, [evaluation], { ngram: 8, threshold: 0.25 })).report.removed.map(({ row }) => row)).toEqual([0, 2]); // 6 of 23 runs; row 1 holds 5, row 6 3 of 13
    expect((await decontaminate(rows('blue'), [evaluation.size ? datasetOf([{ answer: 'Blue.' }]) : evaluation], { evalColumns: ['answer'] })).report.removed).toHaveLength(1);
  });
  it('is what looking for every run gives', async () => {
    for (const seed of [1, 2, 3]) {
      const all = corpus(seed, 120);
      const [train, held] = [all.slice(0, 80), all.slice(80)];
      const expected = train.flatMap((text, i) => {
        const own = ` ${text} `;
        const hit = held.some((other) => {
          const list = wordsOf(other);
          return list.length < 8 ? own === ` ${list.join(' ')} ` : ngrams(list, 8).some((run) => own.includes(` ${run} `));
        });
        return hit ? [i] : [];
      });
      expect((await decontaminate(rows(...train), [rows(...held)], { ngram: 8 })).report.removed.map(({ row }) => row)).toEqual(expected);
    }
  });
  it('refuses what makes no sense', async () => {
    await expect(decontaminate(rows('a'), [])).rejects.toThrow('no evaluation set');
    await expect(decontaminate(rows('a'), [evaluation], { ngram: 1 })).rejects.toThrow('`ngram` is 1');
    await expect(decontaminate(rows('a'), [datasetOf([{ x: 1 }])])).rejects.toThrow('row 0 of rows has none of the columns');
  });
});
