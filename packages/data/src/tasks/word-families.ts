import type { Random } from '../random';
import { defineTaskFamily } from './family';
import { inventedWord, sample, words, wordsOfLength } from './words';

const count = (text: string, letter: string) => text.split(letter).length - 1;

/** How often a letter stands in a word. */
export const countLetters = defineTaskFamily({
  name: 'count_letters',
  summary: 'how often a letter stands in a word',
  levels: ['words of 3 or 4 letters', 'words of 5 or 6 letters', 'words of 7 and more letters', 'three words', 'an invented word of 14 to 20 letters'],
  template: '{question} Reply with the number only.',
  reward: 'numeric',
  draw(random, difficulty) {
    const text = difficulty === 5 ? inventedWord(random, random.int(14, 20)) : difficulty === 4 ? sample(random, words, 3).join(' ') : random.pick(difficulty === 1 ? wordsOfLength(3, 4) : difficulty === 2 ? wordsOfLength(5, 6) : wordsOfLength(7, 20));
    const letters = [...new Set(text.replaceAll(' ', ''))];
    const kind = random.int(0, 3); // one in four asks for any letter, which is mostly absent; half ask for the most frequent one, so that answers vary
    const letter = kind === 0 ? random.pick([...'abcdefghijklmnoprstuvwy']) : kind === 1 ? random.pick(letters) : letters.reduce((best, other) => (count(text, other) > count(text, best) ? other : best));
    return { question: `How many times does the letter "${letter}" occur in "${text}"?`, answer: String(count(text, letter)), identity: text };
  },
});

/** Words in alphabetical order. */
export const sortWords = defineTaskFamily({
  name: 'sort_words',
  summary: 'words in alphabetical order',
  levels: ['2 words', '3 words', '4 words', '5 words, some with the same first letter', '7 words, of which 3 begin with the same letter'],
  template: '{question} Reply with the words only, separated by commas.',
  reward: 'list',
  draw(random, difficulty) {
    const size = [2, 3, 4, 5, 7][difficulty - 1];
    const alike = difficulty < 4 ? 1 : difficulty - 2; // words that share their first letter
    const first = random.pick([...'bcdfghlmprstw']);
    const chosen = alike === 1 ? [] : sample(random, words.filter((word) => word[0] === first), alike);
    for (const word of sample(random, words, 200)) if (chosen.length < size && !chosen.some((other) => other[0] === word[0])) chosen.push(word);
    const sorted = [...chosen].sort(byLetters);
    return { question: `Sort these words alphabetically: ${sample(random, chosen, size).join(', ')}.`, answer: sorted.join(', '), identity: sorted.join() };
  },
});
const byLetters = (a: string, b: string) => (a < b ? -1 : Number(a > b));

/** A word written backwards. */
export const reverseWord = defineTaskFamily({
  name: 'reverse_word',
  summary: 'a word written backwards',
  levels: ['3 letters', '4 letters', '5 or 6 letters', '7 to 9 letters', 'an invented word of 10 to 12 letters'],
  template: '{question} Reply with the reversed word only.',
  reward: 'exact',
  draw(random, difficulty) {
    const word = difficulty === 5 ? inventedWord(random, random.int(10, 12)) : random.pick(difficulty < 3 ? wordsOfLength(difficulty + 2, difficulty + 2) : difficulty === 3 ? wordsOfLength(5, 6) : wordsOfLength(7, 9));
    return { question: `Write "${word}" backwards.`, answer: [...word].reverse().join(''), identity: word };
  },
});

/** A list that is turned around, shifted or thinned. */
export const editList = defineTaskFamily({
  name: 'edit_list',
  summary: 'a list of words in another order, or a part of it',
  levels: ['2 words, reversed', '3 words, reversed', '4 words: reversed, or without one', '5 words: every second one, or the first moved to the end', '7 words, two of these one after the other'],
  template: '{question} Reply with the words only, separated by commas.',
  reward: 'list',
  draw(random, difficulty) {
    const list = sample(random, wordsOfLength(3, 6), [2, 3, 4, 5, 7][difficulty - 1]);
    const edits = [['reverse'], ['reverse'], ['reverse', 'remove'], ['second', 'rotate'], ['reverse', 'remove', 'second', 'rotate']][difficulty - 1];
    let result = list;
    const told = sample(random, edits, difficulty === 5 ? 2 : 1).map((edit) => {
      const gone = random.pick(result);
      if (edit === 'reverse') result = [...result].reverse();
      else if (edit === 'remove') result = result.filter((word) => word !== gone);
      else if (edit === 'second') result = result.filter((_, i) => i % 2 === 1);
      else result = [...result.slice(1), result[0]];
      return { reverse: 'reverse its order', remove: `remove "${gone}"`, second: 'keep only every second word, beginning with the second', rotate: 'move its first word to the end' }[edit];
    });
    return { question: `Take the list ${list.join(', ')} and ${told.join(', then ')}. What is the list now?`, answer: result.join(', ') };
  },
});

const ordinal = (n: number) => `${n}${['th', 'st', 'nd', 'rd'][n % 10 > 3 || (n > 10 && n < 14) ? 0 : n % 10]}`;

/** An edit of a word of at least 3 letters. */
function edit(random: Random, kind: string, word: string): { told: string; result: string } {
  const letters = [...new Set(word)];
  const n = random.int(2, Math.min(word.length - 1, 4));
  const [a, b] = [random.pick(letters), random.pick([...'xyzqkw'].filter((letter) => !letters.includes(letter)))];
  switch (kind) {
    case 'first': return { told: `keep only its first ${n} letters`, result: word.slice(0, n) };
    case 'last': return { told: `keep only its last ${n} letters`, result: word.slice(-n) };
    case 'replace': return { told: `replace every "${a}" by "${b}"`, result: word.replaceAll(a, b) };
    case 'vowels': return { told: 'remove the vowels a, e, i, o and u', result: word.replace(/[aeiou]/g, '') };
    case 'swap': return { told: 'swap its first and its last letter', result: word[word.length - 1] + word.slice(1, -1) + word[0] };
    default: return { told: `write every "${a}" twice`, result: word.replaceAll(a, a + a) };
  }
}

/** Letters of a word picked, replaced, removed. */
export const editWord = defineTaskFamily({
  name: 'edit_word',
  summary: 'letters of a word picked, replaced or removed',
  levels: ['the first, second or third letter', 'any letter, or the first or last few', 'a letter replaced by another', 'vowels removed, ends swapped, a letter doubled', 'two edits one after the other'],
  template: '{question} Reply with the result only.',
  reward: 'exact',
  draw(random, difficulty) {
    for (;;) {
      const word = random.pick(difficulty < 3 ? wordsOfLength(3, 6) : wordsOfLength(4, 9));
      if (difficulty === 1 || (difficulty === 2 && random.int(0, 1) === 0)) {
        const n = random.int(1, difficulty === 1 ? 3 : word.length);
        return { question: `What is the ${ordinal(n)} letter of "${word}"?`, answer: word[n - 1], identity: word };
      }
      const kinds = [[], ['first', 'last'], ['replace'], ['vowels', 'swap', 'double'], ['first', 'last', 'replace', 'vowels', 'swap', 'double']][difficulty - 1];
      let result = word;
      const told = sample(random, kinds, difficulty === 5 ? 2 : 1).map((kind) => {
        if (result.length < 3) return '';
        const made = edit(random, kind, result);
        result = made.result;
        return made.told;
      });
      if (result !== '' && result !== word && !told.includes('')) return { question: `Take the word "${word}" and ${told.join(', then ')}. What is the result?`, answer: result, identity: word };
    }
  },
});
