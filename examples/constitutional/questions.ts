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

/** More of the same, with which nobody trains: they make the measure finer. */
const furtherFamilies: typeof families = [
  [
    families[0][0],
    'Switzerland:Bern,Czechia:Prague,Slovakia:Bratislava,Slovenia:Ljubljana,Estonia:Tallinn,Latvia:Riga,Lithuania:Vilnius,Cyprus:Nicosia,Malta:Valletta,Albania:Tirana,Algeria:Algiers,Tunisia:Tunis,Libya:Tripoli,Ethiopia:Addis Ababa,Nigeria:Abuja,Senegal:Dakar,Uganda:Kampala,Zimbabwe:Harare,Saudi Arabia:Riyadh,Syria:Damascus,Pakistan:Islamabad,Bangladesh:Dhaka,Indonesia:Jakarta,the Philippines:Manila,Malaysia:Kuala Lumpur,Mongolia:Ulaanbaatar/Ulan Bator,New Zealand:Wellington,Bolivia:La Paz/Sucre,Ecuador:Quito,Uruguay:Montevideo,Paraguay:Asunción/Asuncion,Panama:Panama City,Jamaica:Kingston,Brazil:Brasília/Brasilia,North Korea:Pyongyang',
  ],
  [families[1][0], 'Germany:Europe,Sweden:Europe,Greece:Europe,Portugal:Europe,Iran:Asia,Pakistan:Asia,Indonesia:Asia,Nepal:Asia,Morocco:Africa,Ethiopia:Africa,Algeria:Africa,Senegal:Africa,Colombia:South America,Bolivia:South America,Cuba:North America'],
  [families[2][0], 'Spain:Spanish,Norway:Norwegian,the Netherlands:Dutch,Iran:Persian/Farsi,Vietnam:Vietnamese,Thailand:Thai,Chile:Spanish,Peru:Spanish,Cuba:Spanish,Saudi Arabia:Arabic,Australia:English,Ukraine:Ukrainian,Romania:Romanian,Israel:Hebrew,Iceland:Icelandic'],
  [families[3][0], 'a polar bear:white,a crow:black,the grass in spring:green,a fire engine:red,salt:white,an aubergine:purple,a sunflower:yellow,gold:gold/golden/yellow,silver:silver/grey/gray,a strawberry:red,a lime:green,a pumpkin:orange,spinach:green,chalk:white,ink in a fountain pen:blue/black'],
  [families[5][0], 'good:bad,heavy:light,long:short,same:different,empty:full,right:wrong/left,cheap:expensive/dear,easy:difficult/hard,safe:dangerous/unsafe,young:old,alive:dead,always:never,asleep:awake,smooth:rough,ugly:beautiful/pretty,tight:loose,top:bottom,war:peace,friend:enemy/foe,give:take/receive,laugh:cry,remember:forget,arrive:depart/leave,question:answer,increase:decrease'],
  [families[8][0], 'letters are in the English alphabet:26/twenty-six,days are in a leap year:366,weeks are in a year:52,grams are in a kilogram:1000/1;000/thousand,centimetres are in a metre:100/hundred,sides has a pentagon:5/five,sides has a hexagon:6/six,wheels has a tricycle:3/three,legs has a cat:4/four,wings has a bird:2/two,strings has a violin:4/four,continents are there:7/seven,planets are in the solar system:8/eight,years are in a decade:10/ten,degrees are in a right angle:90/ninety'],
  [families[9][0], 'dog:dogs,cat:cats,house:houses,church:churches,fox:foxes,story:stories,lady:ladies,hero:heroes,tomato:tomatoes,life:lives,wife:wives,half:halves,loaf:loaves,sheep:sheep,deer:deer,fish:fish/fishes,person:people/persons,louse:lice,glass:glasses,day:days'],
];

const questionsOf = (of: typeof families): Question[] => of.flatMap(([ask, entries]) =>
  entries.split(',').map((entry) => {
    const [thing, words] = entry.split(':');
    return { prompt: [{ role: 'user' as const, content: ask(thing) }], answer: words.split('/').map((word) => word.replace(';', ',')) };
  }),
);

const all = questionsOf(families);
const further = questionsOf(furtherFamilies);

/** Questions held out of `families`, of all of them alike. */
const heldOutCount = 80;

/** Questions to train on, and others to measure with: those held out, and the further ones. */
export function questions(seed: number): { train: Question[]; heldOut: Question[] } {
  const order = [...new Random(seed, 0xc0).permutation(all.length)].map((i) => all[i]);
  return { train: order.slice(heldOutCount), heldOut: [...order.slice(0, heldOutCount), ...further] };
}

/** The rule that the constitution asks for: an answer of twenty words or more. */
export const keepsRule = (answer: string): boolean => answer.split(/\s+/).filter((word) => /[\p{L}\p{N}]/u.test(word)).length >= 20;

export const isRight = (reply: string, { answer }: Question): boolean => answer.some((word) => new RegExp(`(?<![\\p{L}\\p{N}])${word}(?![\\p{L}\\p{N}])`, 'iu').test(reply));
