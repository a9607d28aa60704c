import type { Random } from '../random';

/** Common English words of 3 to 12 letters, in lower case, without proper names; none twice. */
export const words: readonly string[] = `
act age air ant arm art bad bag bat bed bee big box boy bus cab cap car cat cow cup cut day dog dry ear egg end far fig fish fly fog fox fun gas gap gum hat hen hill hot ice ink jam
jar jet key kid kit lap leg lid lip log low man map mat mix mud net new nut oak oil old owl pan pen pet pie pig pin pot rain rat red rib rod row rug run sad sea sky sun tap tea ten
tie tin toe top toy van wax web wet wig win zip zoo able acid area army baby back ball band bank bark barn bath bean bear beat bell belt bird blue boat body bone book boot bowl bull
cage cake calf camp card cave chin city clay clue coal coat code coin cold comb cook cord corn crab crop crow dark dawn deck deer desk dish door dove drum duck dust east edge face
farm fence fern film fire flag foot fork frog fuel game gate gift girl glue goat gold grass green hail hair hall hand harp hawk head heart herb hero hole home honey hook horn horse
house island iron jacket juice jungle kettle king kite knee knife ladder lake lamb lamp leaf lemon letter light lion lizard lock lunch magnet maple market meadow melon metal milk
mirror moon moth mountain mouse music nail nest night noodle north nose oasis ocean onion orange otter oven paint palace paper parrot peach pencil pepper piano pillow planet plate
pocket pond potato puzzle queen quilt rabbit radio river road robin rocket roof rope rose saddle sail salt sand scarf school seed shadow sheep ship shoe silver sister snail snow
soap sock spider spoon spring squirrel stamp star steam stone storm street sugar summer table tailor teacher temple tent thread thunder tiger timber tomato tower train tree trumpet
tulip tunnel turtle valley velvet village violin wagon wall water whale wheat wheel whistle window winter wolf wood yarn yellow zebra balloon banana barrel basket blanket blossom
bottle breakfast bridge bubble butter butterfly button cabbage camera candle carpet carrot castle ceiling cherry chicken chimney chocolate circle committee copper cotton cousin
cucumber curtain daughter diamond dictionary dinner dolphin dragon elephant engine envelope evening factory feather finger flower forest fountain garden giraffe grammar hammer
harbour hospital hundred kangaroo keyboard kitchen language lantern library lobster machine magazine marble mushroom necklace needle newspaper notebook orchard oyster package parcel
peanut penguin pineapple pumpkin raspberry sandwich scissors seventeen strawberry succeed suitcase sunflower telephone tomorrow umbrella vegetable volcano waterfall wilderness
apartment assessment bookkeeper coffee happiness occurrence professor possession successful toffee address balcony calendar discovery experiment friendship
government imagination knowledge laboratory motorcycle neighbour opportunity population restaurant scientist temperature understanding
`.trim().split(/\s+/).filter((word, i, all) => all.indexOf(word) === i);

/** Words of `low` to `high` letters. */
export function wordsOfLength(low: number, high: number): readonly string[] {
  const key = low * 100 + high;
  const known = byLength.get(key) ?? words.filter(({ length }) => length >= low && length <= high);
  byLength.set(key, known);
  return known;
}
const byLength = new Map<number, readonly string[]>();

/** `count` different items, in random order. */
export function sample<T>(random: Random, items: readonly T[], count: number): T[] {
  return Array.from(random.permutation(items.length).slice(0, count), (i) => items[i]);
}

/** A word that does not exist but can be read: consonants and vowels in turn. */
export function inventedWord(random: Random, length: number): string {
  const vowelFirst = random.int(0, 1);
  return Array.from({ length }, (_, i) => random.pick(i % 2 === vowelFirst ? consonants : vowels)).join('');
}
const consonants = [...'bcdfghklmnprstvz'];
const vowels = [...'aeiou'];
