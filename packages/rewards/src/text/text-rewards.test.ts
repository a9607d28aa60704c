import type { TextModel } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { exactReward } from '../answer-rewards';
import { sampleOf, scoreAll, totals } from '../test-support';
import { bleu, diversityReward } from './diversity-reward';
import { factualityReward } from './factuality-reward';
import { languageReward, languageScores } from './language-reward';
import { isRefusal, refusalReward } from './refusal-reward';
import { sentencesOf, wordsOf, type Embed } from './text-units';
import { wordsReward } from './words-reward';

const passages = ['The Eiffel Tower was completed in 1889. It is 330 metres tall. It is not the tallest building in Europe.', 'Paris is the capital of France.'];
const facts = (completion: string, options = {}) => totals(factualityReward(options), [sampleOf(completion, { passages })]);

/** Counts of letters: texts of the same letters are the same. */
const letters: Embed = async (texts) => texts.map((text) => Float32Array.from({ length: 26 }, (_, i) => text.toLowerCase().split(String.fromCharCode(97 + i)).length - 1));
const judge = (answer: (prompt: string) => string): TextModel => ({ complete: async (prompts) => prompts.map((prompt) => answer(String(prompt))) });

describe('factualityReward', () => {
  it('supports what a passage says', async () => {
    expect(await facts('The Eiffel Tower was completed in 1889.')).toEqual([1]);
    expect(await facts('Paris is the capital of France. The tower is 330 metres tall.')).toEqual([1]);
    expect(await facts('<think>Rome is the capital of France.</think>Paris is the capital of France.')).toEqual([1]);
  });
  it('and nothing else: other numbers, denials, other things', async () => {
    expect(await facts('The Eiffel Tower was completed in 1890.')).toEqual([0]);
    expect(await facts('Paris is not the capital of France.')).toEqual([0]);
    expect(await facts('The Eiffel Tower is the tallest building in Europe.')).toEqual([0]);
    expect(await facts('Rome is the capital of France.', { threshold: 0.9 })).toEqual([0]);
    expect(await scoreAll(factualityReward(), [sampleOf('Paris is the capital of France. Cats can fly.', { passages })])).toEqual([{ total: 0.5, components: { claims: 2, supported: 1 }, note: 'no passage says: Cats can fly.' }]);
  });
  it('null without passages, 0 for saying nothing', async () => {
    expect(await totals(factualityReward(), [sampleOf('a', {}), sampleOf('a', { passages: [] }), sampleOf('a', { passages: [' ', 3] }), sampleOf('', { passages: 'a b' }), sampleOf('...', { passages: 'a b' })])).toEqual([null, null, null, 0, 0]);
    expect(await totals(factualityReward({ column: 'context' }), [sampleOf('A b c.', { context: 'A b c.' })])).toEqual([1]);
  });
  it('matches in meaning, where it is given vectors; numbers count all the same', async () => {
    expect(await facts('France has the capital Paris is of.', { threshold: 1 })).toEqual([0]);
    expect(await facts('Of France the capital Paris is.', { threshold: 1, embed: letters, similarity: 0.99 })).toEqual([1]);
    expect(await facts('Completed was the Eiffel Tower in 1998.', { threshold: 1, embed: letters, similarity: 0.9 })).toEqual([0]);
    await expect(facts('Cats can fly.', { embed: async () => [] })).rejects.toThrow('`embed` gave 0 vectors');
    await expect(facts('Cats can fly.', { embed: async (texts: string[]) => texts.map(() => [NaN]) })).rejects.toThrow('not finite');
  });
  it('asks a judge about the rest; what cannot be read is left out', async () => {
    const asked: string[] = [];
    const says = (answer: string) => judge((prompt) => (asked.push(prompt), answer));
    expect(await facts('Paris is the capital of France. The tower is in Paris.', { judge: says('Yes.') })).toEqual([1]);
    expect(asked).toHaveLength(1);
    expect(asked[0]).toContain('Claim: The tower is in Paris.');
    expect(await facts('The tower is in Paris.', { judge: says(' no, it is not') })).toEqual([0]);
    expect(await facts('The tower is in Paris.', { judge: says('perhaps') })).toEqual([null]);
    expect(await facts('Paris is the capital of France. The tower is in Paris.', { judge: says('nothing of the kind') })).toEqual([1]);
  });
  it('refuses thresholds that are none', () => expect(() => factualityReward({ threshold: 0 })).toThrow('`threshold` is 0'));
});

describe('diversityReward', () => {
  const group = (...completions: string[]) => completions.map((completion) => sampleOf(completion));
  it('distinct: n-grams that no other has', async () => {
    expect(await totals(diversityReward(), group('a b c', 'a b d', 'x y z'))).toEqual([0.5, 0.5, 1]);
    expect(await totals(diversityReward({ n: 1 }), group('a b', 'a c', ''))).toEqual([0.5, 0.5, 0]);
    expect(await totals(diversityReward(), group('same text here', 'same text here'))).toEqual([0, 0]);
  });
  it('self-BLEU', async () => {
    expect(bleu(['a', 'b', 'c', 'd'], [['a', 'b', 'c', 'd']])).toBe(1);
    expect(bleu(['a'], [['b']])).toBe(0);
    // 1-grams 3/4, 2-grams (2+1)/(3+1), 3-grams (1+1)/(2+1), 4-grams (0+1)/(1+1), and as long as the reference
    expect(bleu(['a', 'b', 'c', 'x'], [['a', 'b', 'c', 'd']])).toBeCloseTo((3 / 4) ** 0.25 * (3 / 4) ** 0.25 * (2 / 3) ** 0.25 * (1 / 2) ** 0.25, 12);
    expect(bleu(['a', 'b'], [['a', 'b', 'c', 'd']])).toBeCloseTo(Math.exp(1 - 4 / 2), 12); // brevity
    expect(await totals(diversityReward({ measure: 'self_bleu' }), group('a b c d', 'a b c d', 'w x y z'))).toEqual([0, 0, 1]);
  });
  it('embedding: distance in the group', async () => {
    const reward = diversityReward({ measure: 'embedding', embed: letters });
    const [a, b, c] = await totals(reward, group('aa', 'a', 'b'));
    expect([a, b, c]).toEqual([0.5, 0.5, 1]);
    expect(() => diversityReward({ measure: 'embedding' })).toThrow('there is no `embed`');
  });
  it('null for a sample alone; what is wrong earns nothing by being different', async () => {
    expect(await totals(diversityReward(), [sampleOf('a', {}, { group: 'a' }), sampleOf('a', {}, { group: 'b' })])).toEqual([null, null]);
    expect(await totals(diversityReward({ n: 1, correct: exactReward() }), [sampleOf('x', { answer: 'x' }), sampleOf('y', { answer: 'x' }), sampleOf('z', {})])).toEqual([1, 0, null]);
    expect(() => diversityReward({ measure: 'entropy' as 'distinct' })).toThrow('one of distinct, self_bleu, embedding');
  });
});

describe('languageReward', () => {
  const texts: Record<string, string> = {
    en: 'The answer is that you need to add both of the numbers and then divide them.', de: 'Die Antwort ist, dass man beide Zahlen zusammenzählen und dann teilen muss.', fr: 'La réponse est que vous devez additionner les deux nombres et ensuite les diviser.',
    es: 'La respuesta es que hay que sumar los dos números y luego dividir.', it: 'La risposta è che si devono sommare i due numeri e poi dividere per due.', pt: 'A resposta é que você tem de somar os dois números e depois dividir.', nl: 'Het antwoord is dat je de twee getallen moet optellen en dan delen.',
    ru: 'Ответ в том, что нужно сложить оба числа и потом разделить их.', uk: 'Відповідь у тому, що треба скласти обидва числа та потім їх поділити.', zh: '答案是把两个数相加，然后再除以二。', ja: '答えは、二つの数を足してから割ることです。', ko: '답은 두 수를 더한 다음 나누는 것입니다.', el: 'Η απάντηση είναι ότι πρέπει να προσθέσεις τους δύο αριθμούς.', hi: 'उत्तर यह है कि दोनों संख्याओं को जोड़ें।', ar: 'الجواب هو أن تجمع العددين ثم تقسم.', he: 'התשובה היא לחבר את שני המספרים ואז לחלק.', th: 'คำตอบคือบวกสองจำนวนแล้วหาร',
  };
  it.each(Object.entries(texts))('knows %s', (code, text) => {
    const best = Object.entries(languageScores(text)!).sort(([, a], [, b]) => b - a);
    expect(best[0][0]).toBe(code);
    expect(best[0][1]).toBeGreaterThan(0.9);
    expect(best[1][1]).toBeLessThan(0.7);
  });
  it('a language that is wanted, that of the prompt, or that of the row', async () => {
    expect(await totals(languageReward({ language: 'de' }), [sampleOf(texts['de']), sampleOf(texts['en']), sampleOf('42'), sampleOf('')])).toEqual([1, expect.closeTo(0.1, 0), null, null]);
    expect(await totals(languageReward(), [sampleOf(texts['fr'], {}, { prompt: texts['fr'] }), sampleOf(texts['zh'], {}, { prompt: [{ role: 'user', content: texts['fr'] }] }), sampleOf(texts['fr'], {}, { prompt: '1+1=' })])).toEqual([1, 0, null]);
    expect(await totals(languageReward({ column: 'lang' }), [sampleOf(texts['ja'], { lang: 'ja' }), sampleOf(texts['ja'], { lang: 'tlh' }), sampleOf(texts['ja'])])).toEqual([1, null, null]);
  });
  it('sees a thought that slips; code and formulas count for nothing', async () => {
    const [slipped] = await totals(languageReward({ language: 'en' }), [sampleOf(`<think>${texts['zh'].repeat(5)}</think> ${texts['en']}`)]);
    expect(slipped).toBeLessThan(0.6);
    expect(languageScores('```\nder die das und\n``` $x_{max}$ https://example.org/der/die')).toBeNull();
    expect(() => languageReward({ language: 'xx' })).toThrow('prompt, or one of en, de');
  });
});

describe('wordsReward', () => {
  it('forbidden and required words, whole ones', async () => {
    const of = (completion: string, options: object, row = {}) => totals(wordsReward(options), [sampleOf(completion, row)]);
    expect(await of('A party.', { forbid: ['art'] })).toEqual([1]);
    expect(await of('Modern Art!', { forbid: ['art'] })).toEqual([0]);
    expect(await of('Red and blue.', { require: 'red|green' })).toEqual([0.5]);
    expect(await of('red red red red', { require: 'red|green' })).toEqual([0.5]);
    expect(await of('as  an AI\nlanguage model', { forbid: 'as an ai language model' })).toEqual([0]);
    expect(await of('c++ it is', { require: ['C++'] })).toEqual([1]);
    expect(await of('これは猫です', { require: ['猫'] })).toEqual([1]);
    expect(await of('Straße', { require: ['straße'] })).toEqual([1]);
    expect(await of('a b', { column: 'must' }, { must: ['a', 'c'] })).toEqual([0.5]);
    expect(await of('a b', { column: 'must' })).toEqual([null]);
    expect(() => wordsReward({})).toThrow('there are no words');
  });
});

describe('refusals', () => {
  it.each(["I'm sorry, but I can't help with that.", 'I cannot provide that information.', 'As an AI language model, I cannot have opinions.', 'Sorry! I am unable to answer this question.', 'I won’t help you do this.', '<think>Hm.</think>I must decline to answer.', 'Das tut mir leid, ich kann Ihnen dabei nicht helfen.', "Désolé, je ne peux pas répondre.", 'Lo siento, pero no puedo ayudar con eso.'])('%s', (text) => expect(isRefusal(text)).toBe(true));
  it.each(['The answer is 5.', "I'm sorry to hear that! Here is what you can do.", 'You cannot divide by zero.', 'I can help you with that.', "He said: the machine can't help itself.", `${'Here is a long story. '.repeat(20)} I cannot help with that.`, ''])('no refusal: %s', (text) => expect(isRefusal(text)).toBe(false));
  it('costs, unless it is wanted', async () => {
    const [refusal, answer] = ["I can't help with that.", 'Five.'];
    expect(await totals(refusalReward(), [sampleOf(refusal), sampleOf(answer)])).toEqual([-1, 0]);
    expect(await totals(refusalReward({ penalty: -0.5 }), [sampleOf(refusal, { refuse: true }), sampleOf(answer, { refuse: true }), sampleOf(refusal, { refuse: false }), sampleOf(answer, { refuse: false }), sampleOf(refusal)])).toEqual([1, 0, 0, 1, -0.5]);
  });
});

it('words and sentences', () => {
  expect(wordsOf("Don't pay 1,234.5 for the well-known Ａ!")).toEqual(["don't", 'pay', '1,234.5', 'for', 'the', 'well-known', 'a']);
  expect(sentencesOf('One. Two? "Three." Four 3.5 five!\n- Six\n\n...')).toEqual(['One.', 'Two?', '"Three."', 'Four 3.5 five!', 'Six']);
  expect(sentencesOf('一。二！')).toEqual(['一。', '二！']);
});
