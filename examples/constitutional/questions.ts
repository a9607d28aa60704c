import { Random } from '@espalier/data';
import type { Message } from '@espalier/spec';

/** A question with what a right answer contains. */
export interface Question extends Record<string, unknown> {
  prompt: Message[];
  /** Words, one of which is enough. */
  answer: string[];
}

/** A question's text round the thing that it asks for, and `thing:word` or `thing:word/another word` for each. */
const families: [ask: (thing: string) => string, entries: string][] = [
  [
    (country) => `What is the capital of ${country}?`,
    'France:Paris,Italy:Rome,Spain:Madrid,Germany:Berlin,Japan:Tokyo,China:Beijing,Russia:Moscow,Greece:Athens,Egypt:Cairo,Portugal:Lisbon,Austria:Vienna,Ireland:Dublin,Poland:Warsaw,Hungary:Budapest,Norway:Oslo,Sweden:Stockholm,Denmark:Copenhagen,Finland:Helsinki,Cuba:Havana,Peru:Lima,Canada:Ottawa,Thailand:Bangkok,Iran:Tehran,Iraq:Baghdad,Kenya:Nairobi,Belgium:Brussels,Argentina:Buenos Aires,Chile:Santiago,Turkey:Ankara,India:New Delhi,Australia:Canberra,Mexico:Mexico City,Iceland:Reykjavik,Scotland:Edinburgh,Wales:Cardiff,Romania:Bucharest,Bulgaria:Sofia,Ukraine:Kyiv/Kiev,Vietnam:Hanoi,Nepal:Kathmandu,Colombia:Bogotá/Bogota,Venezuela:Caracas,Morocco:Rabat,Lebanon:Beirut,Jordan:Amman,South Korea:Seoul,the Netherlands:Amsterdam,Croatia:Zagreb,Serbia:Belgrade,Ghana:Accra',
  ],
  [
    (country) => `On which continent is ${country}?`,
    'France:Europe,Italy:Europe,Kenya:Africa,Nigeria:Africa,Japan:Asia,India:Asia,Brazil:South America,Peru:South America,Canada:North America,Mexico:North America,Egypt:Africa,China:Asia,Spain:Europe,Norway:Europe,Ghana:Africa,Chile:South America,Thailand:Asia,Poland:Europe,Vietnam:Asia,Argentina:South America',
  ],
  [
    (country) => `Which language do most people speak in ${country}?`,
    'France:French,Italy:Italian,Germany:German,Japan:Japanese,Brazil:Portuguese,Mexico:Spanish,Russia:Russian,Greece:Greek,Poland:Polish,Sweden:Swedish,Turkey:Turkish,Hungary:Hungarian,Egypt:Arabic,England:English,China:Chinese/Mandarin,Portugal:Portuguese,Denmark:Danish,Finland:Finnish,Argentina:Spanish,Austria:German',
  ],
  [
    (thing) => `What colour is ${thing}?`,
    'the sky on a clear day:blue,grass:green,snow:white,coal:black,a ripe banana:yellow,blood:red,a ripe tomato:red,an orange:orange,chocolate:brown,the sun at noon:yellow/white,milk:white,a lemon:yellow,an emerald:green,a ruby:red,a raven:black,cotton:white,a sapphire:blue,a carrot:orange,a flamingo:pink,cucumber:green',
  ],
  [
    (animal) => `What is the young of ${animal} called?`,
    'a cat:kitten,a dog:puppy,a cow:calf,a horse:foal,a sheep:lamb,a goat:kid,a hen:chick,a duck:duckling,a goose:gosling,a pig:piglet,a lion:cub,a bear:cub,a deer:fawn,a frog:tadpole,an eagle:eaglet,a kangaroo:joey,an elephant:calf,a wolf:pup/cub,a swan:cygnet,an owl:owlet',
  ],
  [
    (word) => `What is the opposite of "${word}"?`,
    'hot:cold,big:small/little,tall:short,fast:slow,day:night,black:white,up:down,left:right,open:closed/close/shut,wet:dry,old:new/young,happy:sad/unhappy,rich:poor,hard:soft/easy,full:empty,early:late,light:dark/heavy,strong:weak,thick:thin,loud:quiet/soft,clean:dirty,first:last,high:low,near:far,north:south,east:west,love:hate,win:lose,buy:sell,push:pull,inside:outside,above:below/beneath,before:after,begin:end/finish,brave:cowardly/afraid/fearful,deep:shallow,true:false,wide:narrow,sweet:sour/bitter,sharp:blunt/dull',
  ],
  [
    (day) => `Which day of the week comes after ${day}?`,
    'Monday:Tuesday,Tuesday:Wednesday,Wednesday:Thursday,Thursday:Friday,Friday:Saturday,Saturday:Sunday,Sunday:Monday',
  ],
  [
    (month) => `Which month comes after ${month}?`,
    'January:February,February:March,March:April,April:May,May:June,June:July,July:August,August:September,September:October,October:November,November:December,December:January',
  ],
  [
    (thing) => `How many ${thing}?`,
    'days are in a week:7/seven,months are in a year:12/twelve,hours are in a day:24/twenty-four,minutes are in an hour:60/sixty,legs has a spider:8/eight,legs has an ant:6/six,legs has a dog:4/four,sides has a triangle:3/three,sides has a square:4/four,wheels has a bicycle:2/two,fingers are on one hand:5/five,eggs are in a dozen:12/twelve,years are in a century:100/hundred,players has a football team on the field:11/eleven,colours has a rainbow:7/seven,seconds are in a minute:60/sixty',
  ],
  [
    (word) => `What is the plural of "${word}"?`,
    'mouse:mice,child:children,man:men,woman:women,foot:feet,tooth:teeth,goose:geese,leaf:leaves,knife:knives,wolf:wolves,baby:babies,city:cities,box:boxes,bus:buses,potato:potatoes,ox:oxen',
  ],
];

const all: Question[] = families.flatMap(([ask, entries]) =>
  entries.split(',').map((entry) => {
    const [thing, words] = entry.split(':');
    return { prompt: [{ role: 'user' as const, content: ask(thing) }], answer: words.split('/') };
  }),
);

/** Questions held out, of all families alike. */
export const heldOutCount = 80;

/** Questions to train on, and others to measure with. */
export function questions(seed: number): { train: Question[]; heldOut: Question[] } {
  const order = [...new Random(seed, 0xc0).permutation(all.length)].map((i) => all[i]);
  return { train: order.slice(heldOutCount), heldOut: order.slice(0, heldOutCount) };
}

/** The rule that the constitution asks for: an answer of two whole sentences or more. What the length limit cuts off is not one. */
export const keepsRule = (answer: string): boolean => (answer.match(/[.!?]["')]*(?=\s|$)/g) ?? []).length >= 2;

export const isRight = (reply: string, { answer }: Question): boolean => answer.some((word) => new RegExp(`(?<![\\p{L}\\p{N}])${word}(?![\\p{L}\\p{N}])`, 'iu').test(reply));
