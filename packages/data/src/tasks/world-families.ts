import type { Random } from '../random';
import { defineTaskFamily } from './family';
import { sample } from './words';

const numberOnly = '{question} Reply with the number only.';
const people = ['Anna', 'Ben', 'Clara', 'David', 'Emma', 'Finn', 'Grace', 'Hugo', 'Iris', 'Jack', 'Kate', 'Leo', 'Mia', 'Noah', 'Olga', 'Paul'];
const things = ['apples', 'books', 'coins', 'cards', 'marbles', 'pencils', 'shells', 'stamps', 'stickers', 'stones', 'buttons', 'eggs'];

/** Little stories about how many things somebody has. */
export const wordProblems = defineTaskFamily({
  name: 'word_problems',
  summary: 'how many things somebody has after a few events',
  levels: ['1 event, numbers to 9', '2 events, numbers to 20', '2 events, bags of several things', '3 events, and something that does not count', '4 events, half given away, twice as many'],
  template: numberOnly,
  reward: 'numeric',
  draw(random, difficulty) {
    const [name, friend] = sample(random, people, 2);
    const [thing, other] = sample(random, things, 2);
    const most = [9, 20, 20, 50, 50][difficulty - 1];
    let have = random.int(2, most);
    const story = [`${name} has ${have} ${thing}.`];
    const happened = [String(have)]; // the same whatever the names
    const events = [1, 2, 2, 3, 4][difficulty - 1];
    for (let done = 0; done < events;) {
      const kind = random.pick((['finds', 'gives', 'bags', 'half', 'twice'] as const).slice(0, [2, 2, 3, 3, 5][difficulty - 1]));
      const n = random.int(2, most);
      if (kind === 'gives' && n > have) continue;
      if (kind === 'half' && (have % 2 !== 0 || have === 0)) continue;
      if (kind === 'twice' && have > 300) continue;
      done++;
      if (kind === 'finds') {
        have += n;
        happened.push(`+${n}`);
        story.push(`${name} finds ${n} more ${thing}.`);
      } else if (kind === 'gives') {
        have -= n;
        happened.push(`-${n}`);
        story.push(`${name} gives ${n} ${thing} to ${friend}.`);
      } else if (kind === 'bags') {
        const [bags, each] = [random.int(2, 6), random.int(2, 9)];
        have += bags * each;
        happened.push(`+${bags}*${each}`);
        story.push(`${name} buys ${bags} bags with ${each} ${thing} each.`);
      } else if (kind === 'half') {
        have /= 2;
        happened.push('half');
        story.push(`${name} gives half of the ${thing} to ${friend}.`);
      } else {
        have *= 3;
        happened.push('twice');
        story.push(`${name} gets twice as many ${thing} as ${name} has, and keeps them all.`);
      }
    }
    const identity = happened.join(' ');
    if (difficulty > 3) story.splice(random.int(1, story.length), 0, `${friend} has ${random.int(2, most)} ${other}.`);
    return { question: `${story.join(' ')} How many ${thing} does ${name} have now?`, answer: String(have), identity };
  },
});

const weekdays = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const months = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December'];
const monthOffsets = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
/** Sakamoto's formula, of the Gregorian calendar: 0 is Sunday. */
function weekdayOf(year: number, month: number, day: number): number {
  const y = month < 3 ? year - 1 : year;
  return (y + Math.floor(y / 4) - Math.floor(y / 100) + Math.floor(y / 400) + monthOffsets[month - 1] + day) % 7;
}
const daysIn = (year: number, month: number) => (month === 2 ? (year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28) : [4, 6, 9, 11].includes(month) ? 30 : 31);

/** Days of the week. */
export const calendar = defineTaskFamily({
  name: 'calendar',
  summary: 'the day of the week after or before some days, or of a date',
  levels: ['1 to 14 days later', 'to 50 days later', 'to 100 days before or after', 'weeks and days before or after', 'a date from 1900 to 2099'],
  template: '{question} Reply with the day of the week only.',
  reward: 'exact',
  draw(random, difficulty) {
    if (difficulty === 5) {
      const [year, month] = [random.int(1900, 2099), random.int(1, 12)];
      const day = random.int(1, daysIn(year, month));
      return { question: `What day of the week is ${day} ${months[month - 1]} ${year}?`, answer: weekdays[weekdayOf(year, month, day)] };
    }
    const today = random.int(0, 6);
    const [weeks, days] = difficulty === 4 ? [random.int(1, 52), random.int(1, 60)] : [0, random.int(1, [14, 50, 100][difficulty - 1])];
    const back = difficulty > 2 && random.int(0, 1) === 1;
    const span = `${weeks > 0 ? `${weeks} ${weeks === 1 ? 'week' : 'weeks'} and ` : ''}${days} ${days === 1 ? 'day' : 'days'}`;
    const answer = weekdays[(((today + (back ? -days : days)) % 7) + 7) % 7];
    return { question: `Today is ${weekdays[today]}. What day of the week ${back ? `was it ${span} ago` : `will it be in ${span}`}?`, answer };
  },
});

/** Units by kind, with what one of each is in the smallest. */
const units: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  length: { mm: 1, cm: 10, m: 1000, km: 1_000_000 },
  mass: { mg: 1, g: 1000, kg: 1_000_000 },
  volume: { ml: 1, cl: 10, l: 1000 },
  time: { seconds: 1, minutes: 60, hours: 3600, days: 86_400 },
};
/** `numerator / denominator` as a decimal; null when it does not end within six decimals. */
function decimal(numerator: number, denominator: number): string | null {
  const millionths = (numerator * 1_000_000) / denominator;
  if (!Number.isInteger(millionths) || millionths > Number.MAX_SAFE_INTEGER) return null;
  const text = String(millionths).padStart(7, '0');
  return `${text.slice(0, -6)}.${text.slice(-6)}`.replace(/\.?0+$/, '');
}

/** Quantities in other units. */
export const unitConversion = defineTaskFamily({
  name: 'unit_conversion',
  summary: 'a quantity in another unit of the same kind',
  levels: ['lengths, masses and volumes into a smaller unit', 'times into a smaller unit', 'into a larger unit, with decimals', 'hours, minutes and seconds together', 'speeds and areas'],
  template: numberOnly,
  reward: 'numeric',
  draw(random, difficulty) {
    const ask = (amount: string, unit: string, answer: string) => ({ question: `How many ${unit} are ${amount}?`, answer });
    if (difficulty === 4) {
      const [hours, minutes, seconds] = [random.int(1, 5), random.int(1, 59), random.int(1, 59)];
      if (random.int(0, 1) === 0) return ask(`${hours} hours and ${minutes} minutes`, 'minutes', String(hours * 60 + minutes));
      return ask(`${hours} hours, ${minutes} minutes and ${seconds} seconds`, 'seconds', String(hours * 3600 + minutes * 60 + seconds));
    }
    if (difficulty === 5) {
      const n = random.int(1, 60);
      switch (random.int(0, 3)) {
        case 0: return ask(`${n * 18} km/h`, 'm/s', String(n * 5));
        case 1: return ask(`${n * 5} m/s`, 'km/h', String(n * 18));
        case 2: return ask(`${n} m²`, 'cm²', String(n * 10_000));
        default: return ask(`${n} cm²`, 'mm²', String(n * 100));
      }
    }
    for (;;) {
      const kind = difficulty === 2 ? 'time' : random.pick(['length', 'mass', 'volume']);
      const names = Object.keys(units[kind]);
      const small = random.int(0, names.length - 2);
      const large = random.int(small + 1, Math.min(names.length - 1, small + 2));
      const amount = random.int(2, [20, 12, 9999, 0, 0][difficulty - 1]);
      const [from, to] = difficulty === 3 ? [names[small], names[large]] : [names[large], names[small]];
      const answer = decimal(amount * units[kind][from], units[kind][to]);
      if (answer !== null) return ask(`${amount} ${from}`, to, answer);
    }
  },
});

type Step = readonly [value: number, text: string, outermost: string];
/** A value made of all numbers, with the signs allowed; every value on the way is a whole number above 0. */
function combine(random: Random, numbers: readonly number[], signs: string): Step | null {
  let pool: Step[] = numbers.map((n) => [n, String(n), '']);
  while (pool.length > 1) {
    const [left, right, ...rest] = sample(random, pool, pool.length);
    const [high, low] = left[0] >= right[0] ? [left, right] : [right, left];
    const sign = random.pick([...signs]);
    const value = sign === '+' ? high[0] + low[0] : sign === '-' ? high[0] - low[0] : sign === '*' ? high[0] * low[0] : high[0] / low[0];
    if (!Number.isInteger(value) || value < 1 || value > 1000) return null;
    const wrap = ([, text, outermost]: Step) => (outermost === '' ? text : `(${text})`);
    pool = [[value, `${wrap(high)} ${sign} ${wrap(low)}`, sign], ...rest];
  }
  return pool[0];
}

/** A target from given numbers: there are many right answers, and each can be checked. */
export const countdown = defineTaskFamily({
  name: 'countdown',
  summary: 'an expression of given numbers, each used once, that makes a target',
  levels: ['2 numbers, + and -', '3 numbers, + and -', '3 numbers, + - and *', '4 numbers, + - and *', '4 numbers to 50, + - * and /'],
  template: '{question} Reply with the expression only.',
  reward: 'countdown',
  draw(random, difficulty) {
    const signs = ['+-', '+-', '+-*', '+-*', '+-*/'][difficulty - 1];
    for (;;) {
      const numbers = Array.from({ length: [2, 3, 3, 4, 4][difficulty - 1] }, () => random.int(1, [20, 20, 20, 20, 50][difficulty - 1]));
      const made = combine(random, numbers, signs);
      if (made === null || numbers.includes(made[0])) continue;
      return {
        question: `Use each of the numbers ${numbers.join(', ')} exactly once, with ${[...signs].join(' ')} and brackets, to make ${made[0]}.`,
        answer: made[1],
        columns: { numbers, target: made[0] },
        identity: `${[...numbers].sort((a, b) => a - b).join()} ${made[0]}`,
      };
    }
  },
});
