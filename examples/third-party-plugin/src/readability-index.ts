/** What the index of a text is made of. */
export interface ReadabilityIndex {
  /** The years of school (in the United States) after which a text is read with ease: 1 is very plain, 14 and more is academic. */
  grade: number;
  words: number;
  /** At least 1 where there are words. */
  sentences: number;
  /** Letters and digits. */
  characters: number;
}

/**
 * The automated readability index (Smith & Senter 1967, AMRL-TR-66-220): 4.71 · characters / words + 0.5 · words / sentences − 21.43. It asks for no
 * syllables, so it does without a dictionary. Words and sentences are found as Unicode has them, in the given language.
 *
 * @param locale of the text, such as `en` or `de`
 * @returns a grade of NaN where there is no word
 * @example
 * readabilityIndex('The cat sat on the mat.', 'en').grade; // about -5: there is no plainer
 */
export function readabilityIndex(text: string, locale: string): ReadabilityIndex {
  const words = [...new Intl.Segmenter(locale, { granularity: 'word' }).segment(text)].filter(({ isWordLike }) => isWordLike);
  const sentences = [...new Intl.Segmenter(locale, { granularity: 'sentence' }).segment(text)].filter(({ segment }) => /[\p{Letter}\p{Number}]/u.test(segment));
  const characters = words.reduce((sum, { segment }) => sum + (segment.match(/[\p{Letter}\p{Number}]/gu)?.length ?? 0), 0);
  return {
    grade: (4.71 * characters) / words.length + (0.5 * words.length) / sentences.length - 21.43, // 0 / 0 is NaN
    words: words.length,
    sentences: sentences.length,
    characters,
  };
}
