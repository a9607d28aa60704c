const sentences = new Intl.Segmenter('en', { granularity: 'sentence' });

/**
 * The sentences of a text, white space around them left out.
 * @example
 * segmentSentences('One. Two? Three'); // ['One.', 'Two?', 'Three']
 */
export function segmentSentences(text: string): string[] {
  return Array.from(sentences.segment(text), ({ segment }) => segment.trim()).filter((segment) => segment !== '');
}
