import { Random } from '@espalier/data';
import type { Message } from '@espalier/spec';

/** A question with the word that a right answer contains. */
export interface Question extends Record<string, unknown> {
  prompt: Message[];
  answer: string;
}

const capitals = 'France Paris,Italy Rome,Spain Madrid,Germany Berlin,Japan Tokyo,China Beijing,Russia Moscow,Greece Athens,Egypt Cairo,Portugal Lisbon,Austria Vienna,Ireland Dublin,Poland Warsaw,Hungary Budapest,Norway Oslo,Sweden Stockholm,Denmark Copenhagen,Finland Helsinki,Cuba Havana,Peru Lima,Canada Ottawa,Thailand Bangkok,Iran Tehran,Iraq Baghdad,Kenya Nairobi,Belgium Brussels,Argentina Buenos Aires,Chile Santiago,Turkey Ankara,India New Delhi,Australia Canberra,Mexico Mexico City';
const colours = 'the sky on a clear day blue,grass green,snow white,coal black,a ripe banana yellow,blood red,a ripe tomato red,an orange orange,chocolate brown,the sun at noon yellow,milk white,a lemon yellow,an emerald green,a ruby red,a raven black,cotton white';
const animals = 'a cat kitten,a dog puppy,a cow calf,a horse foal,a sheep lamb,a goat kid,a hen chick,a duck duckling,a goose gosling,a pig piglet,a lion cub,a bear cub,a deer fawn,a frog tadpole,an eagle eaglet,a kangaroo joey';
const opposites = 'hot cold,big small,tall short,fast slow,day night,black white,up down,left right,open closed,wet dry,old new,happy sad,rich poor,hard soft,full empty,early late,light dark,strong weak,thick thin,loud quiet,clean dirty,first last,high low,near far';

const split = (list: string, at: (words: string[]) => number) => list.split(',').map((entry) => entry.split(' ')).map((words) => [words.slice(0, at(words)).join(' '), words.slice(at(words)).join(' ')] as const);
const lastWord = (words: string[]) => words.length - 1;

const all: Question[] = [
  ...split(capitals, () => 1).map(([country, city]) => ask(`What is the capital of ${country}?`, city)),
  ...split(colours, lastWord).map(([thing, colour]) => ask(`What colour is ${thing}?`, colour)),
  ...split(animals, lastWord).map(([animal, young]) => ask(`What is the young of ${animal} called?`, young)),
  ...split(opposites, () => 1).map(([word, other]) => ask(`What is the opposite of "${word}"?`, other)),
];

function ask(question: string, answer: string): Question {
  return { prompt: [{ role: 'user', content: question }], answer };
}

/** Questions to train on, and others to measure with. */
export function questions(seed: number): { train: Question[]; heldOut: Question[] } {
  const order = [...new Random(seed, 0xc0).permutation(all.length)].map((i) => all[i]);
  return { train: order.slice(0, -32), heldOut: order.slice(-32) };
}

/** The rule that the constitution asks for: the answer ends with a question. */
export const keepsRule = (answer: string): boolean => /\?["')]?\s*$/.test(answer);

export const isRight = (reply: string, { answer }: Question): boolean => new RegExp(`\\b${answer}\\b`, 'i').test(reply);
