import { describeRewardFunction, defaultRewardSamples, rewardSample } from '@espalier/testkit';
import { describe, expect, it } from 'vitest';
import { readability, type ReadabilityOptions } from './readability.js';
import { readabilityIndex } from './readability-index.js';

const plain = 'The cat sat on the mat. It was warm. The dog came in and sat down too.';
const hard = 'Notwithstanding considerable methodological heterogeneity, epidemiological investigations consistently demonstrate multifactorial interdependencies.';

describeRewardFunction(() => readability(), { samples: [...defaultRewardSamples(), rewardSample({ completion: plain }), rewardSample({ completion: hard })] });

describe('readabilityIndex', () => {
  it('is the formula, on counts that can be counted by hand', () => {
    const { grade, ...counts } = readabilityIndex('One two three four. Five six!', 'en');
    expect(counts).toEqual({ words: 6, sentences: 2, characters: 22 });
    expect(grade).toBeCloseTo((4.71 * 22) / 6 + 0.5 * 3 - 21.43, 12);
  });

  it('counts words as Unicode has them', () => {
    expect(readabilityIndex("Don't stop at 3.5 km.", 'en')).toMatchObject({ words: 5, sentences: 1 });
    expect(readabilityIndex('猫がマットの上に座った。暖かかった。', 'ja').sentences).toBe(2);
  });

  it('is no number where there is no word', () => {
    for (const text of ['', ' \n', '🙂 …']) expect(readabilityIndex(text, 'en').grade).toBeNaN();
  });
});

describe('readability', () => {
  const score = async (completion: string, options?: ReadabilityOptions) => (await readability(options).score([rewardSample({ completion })], { step: 0 }))[0];

  it('rewards plain language, and shows what it looked at', async () => {
    expect(await score(plain)).toMatchObject({ total: 1, components: { words_per_sentence: 17 / 3 } });
    expect(await score(hard)).toMatchObject({ total: 0 });
  });

  it('falls from 1 to 0 over the tolerance', async () => {
    const { grade } = readabilityIndex(plain, 'en');
    expect(await score(plain, { grade: grade - 1, tolerance: 4 })).toMatchObject({ total: expect.closeTo(0.75, 9) as number });
    expect(await score(plain, { grade: grade - 5, tolerance: 4 })).toMatchObject({ total: 0 });
  });

  it('says nothing of what is too short to be measured', async () => {
    expect(await score('Yes.')).toBeNull();
    expect(await score('Yes.', { minWords: 1 })).toMatchObject({ total: 1 });
  });

  it('takes options as text', async () => {
    expect(await score(plain, { grade: '8', tolerance: '2', minWords: '3' } as never)).toMatchObject({ total: 1 });
  });

  it.each<[object, string]>([
    [{ grade: 'eight' }, '`grade` is "eight" (a number)'],
    [{ grade: '' }, '`grade` is ""'],
    [{ tolerance: 0 }, '`tolerance` is 0 (a number above 0)'],
    [{ minWords: 2.5 }, '`minWords` is 2.5 (a whole number from 1)'],
    [{ locale: 'not a locale' }, '`locale` is "not a locale"'],
    [{ locale: 'xx' }, 'a language such as en'],
  ])('refuses %j', (options, message) => {
    expect(() => readability(options)).toThrow(message);
    expect(() => readability(options)).toThrow(expect.objectContaining({ code: 'bad_config' }));
  });
});
