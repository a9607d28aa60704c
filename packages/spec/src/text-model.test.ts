import { describe, expect, it } from 'vitest';
import { upToSentence } from './text-model';

describe('upToSentence', () => {
  it.each([
    ['It is Paris. It lies on the', 'It is Paris.'],
    ['He said "Go!" and then (as ever.) he', 'He said "Go!" and then (as ever.)'],
    ['Pi is 3.14 and e is 2.7', 'Pi is 3.14 and e is 2.7'],
    ['One… Two? thr', 'One… Two?'],
    ['**Yes.** And', '**Yes.**'],
    ['東京です。大きな', '東京です。'],
    ['whole.', 'whole.'],
    ['', ''],
  ])('%j ends as %j', (text, whole) => {
    expect(upToSentence(text)).toBe(whole);
  });
});
