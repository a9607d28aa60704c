import { defineReward, EspalierError, type Reward, type RewardFunction, type TextModel } from '@espalier/spec';
import { splitThought } from '../reasoning/thought';
import { embedAll } from './embeddings';
import { cosine, sentencesOf, wordsOf, type Embed } from './text-units';

export interface FactualityOptions {
  /** Column of the row with the passages: text, or a list of texts. Default `passages`. */
  column?: string;
  /** Share of a claim's words that one sentence of a passage must have, for a match of words. Default 0.8. */
  threshold?: number;
  /** Vectors of texts: a claim may then match a passage's sentence in meaning. Default: words alone. */
  embed?: Embed;
  /** Cosine that such a match takes. Default 0.85. */
  similarity?: number;
  /** Asked about claims that nothing matches. Default: they are unsupported. */
  judge?: TextModel;
  name?: string;
}

/** Words without which a sentence says the same. */
const light = new Set('a an the is are was were be been being am of in on at to for by with from and or as that this these those it its he she they his her their there which who whom'.split(' '));
const negations = new Set("not no never none nobody nothing neither nor without n't cannot can't don't doesn't didn't isn't aren't wasn't weren't won't wouldn't couldn't shouldn't".split(' '));

interface Sentence {
  text: string;
  words: ReadonlySet<string>;
  numbers: ReadonlySet<string>;
  denies: boolean;
}

function read(text: string): Sentence {
  const words = wordsOf(text);
  const plain = words.filter((word) => !light.has(word) && !negations.has(word));
  return { text, words: new Set(plain), numbers: new Set(plain.filter((word) => /^\d/.test(word)).map((number) => number.replaceAll(',', ''))), denies: words.filter((word) => negations.has(word)).length % 2 === 1 };
}

/** Whether a sentence of a passage can support a claim at all: it has all of its numbers, and denies what the claim denies. */
const compatible = (claim: Sentence, sentence: Sentence) => claim.denies === sentence.denies && [...claim.numbers].every((number) => sentence.numbers.has(number));

/** Share of a claim's words that a sentence has. Up to half of them may stand in the one before it: who `it` is. */
function shares(claim: Sentence, sentence: Sentence, before: Sentence | undefined): number {
  if (claim.words.size === 0) return 0;
  let [own, either] = [0, 0];
  for (const word of claim.words) {
    if (sentence.words.has(word)) own++;
    if (sentence.words.has(word) || before?.words.has(word)) either++;
  }
  return Math.min(either, 2 * own) / claim.words.size;
}

const question = (passages: readonly string[], claim: string) => `Passages:\n${passages.join('\n\n')}\n\nClaim: ${claim}\n\nDo the passages say that the claim is true? Answer yes or no.\nAnswer:`;

/** Yes, no, or null where a judge's answer is neither. */
const verdict = (answer: string): boolean | null => (/^\W*yes\b/i.test(answer) ? true : /^\W*no\b/i.test(answer) ? false : null);

function passagesOf(value: unknown): string[] {
  return (Array.isArray(value) ? (value as unknown[]) : [value]).filter((passage): passage is string => typeof passage === 'string' && passage.trim() !== '');
}

/**
 * Claims against passages that the row gives: the share of the sentences of a completion (what follows `</think>`) that a passage supports. A claim is supported when
 * one sentence of a passage (with the one before it) has enough of its words, or is close enough in meaning, and has all of its numbers, and both or neither deny; else when the judge says
 * so. A claim whose judgement cannot be read is left out. A completion that claims nothing earns 0; null for a row without passages.
 *
 * Matching words is a floor, not an understanding: who is said to have done what to whom is not looked at. A judge does that.
 *
 * @throws EspalierError `bad_config`; `bad_data` from an `embed` that breaks its promise
 *
 * @example
 * factualityReward({ embed: (texts) => myModel.embed(texts), judge });
 */
export function factualityReward(options: FactualityOptions = {}): RewardFunction {
  const { column = 'passages', threshold = 0.8, embed, similarity = 0.85, judge } = options;
  for (const [name, value] of Object.entries({ threshold, similarity })) if (!(value > 0 && value <= 1)) throw new EspalierError('bad_config', `\`${name}\` is ${String(value)}`, { fix: 'a share above 0, up to 1' });
  return defineReward({
    name: options.name ?? 'factuality',
    async score(samples, context) {
      const cases = samples.map(({ completion, row }) => {
        const passages = passagesOf(row[column]);
        const sentences = passages.flatMap((passage) => sentencesOf(passage).map(read).map((sentence, i, all) => ({ ...sentence, before: all[i - 1] as Sentence | undefined })));
        const claims = passages.length === 0 ? [] : sentencesOf(splitThought(completion).answer).map((text) => {
          const claim = read(text);
          return { claim, supported: sentences.some((sentence) => compatible(claim, sentence) && shares(claim, sentence, sentence.before) >= threshold) as boolean | null };
        });
        return { passages, sentences, claims };
      });
      if (embed) {
        const open = cases.map((one) => ({ ...one, claims: one.claims.filter(({ supported }) => !supported) })).filter(({ claims }) => claims.length > 0);
        const vectors = await embedAll(embed, open.flatMap(({ claims, sentences }) => [...claims.map(({ claim }) => claim.text), ...sentences.map(({ text }) => text)]), context.signal);
        for (const { claims, sentences } of open) for (const each of claims) each.supported = sentences.some((sentence) => compatible(each.claim, sentence) && cosine(vectors.get(each.claim.text)!, vectors.get(sentence.text)!) >= similarity);
      }
      if (judge) {
        const asked = cases.flatMap(({ passages, claims }) => claims.filter(({ supported }) => !supported).map((each) => ({ each, prompt: question(passages, each.claim.text) })));
        const answers = asked.length === 0 ? [] : await judge.complete(asked.map(({ prompt }) => prompt), { maxNewTokens: 8, temperature: 0, ...(context.signal ? { signal: context.signal } : {}) });
        asked.forEach(({ each }, i) => (each.supported = verdict(answers[i] ?? '')));
      }
      return cases.map(({ passages, claims }): Reward | null => {
        if (passages.length === 0) return null;
        if (claims.length === 0) return { total: 0, components: { claims: 0, supported: 0 } };
        const judged = claims.filter(({ supported }) => supported !== null);
        if (judged.length === 0) return null;
        const supported = judged.filter((each) => each.supported).length;
        const stray = judged.find((each) => !each.supported);
        return { total: supported / judged.length, components: { claims: judged.length, supported }, ...(stray ? { note: `no passage says: ${stray.claim.text.slice(0, 120)}` } : {}) };
      });
    },
  });
}
