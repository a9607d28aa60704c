import type { Random } from '../random';
import { defineTaskFamily } from './family';

const numberOnly = '{question} Reply with the number only.';

/** Steps that are carried out one after another. */
export const chain = defineTaskFamily({
  name: 'chain',
  summary: 'a number that is changed step by step',
  levels: ['2 steps of adding and subtracting digits', '3 steps, numbers to 20, doubling', '4 steps, multiplying by 2 to 5', '5 steps, halving too', '6 steps, numbers to 99, results below zero'],
  template: numberOnly,
  reward: 'numeric',
  draw(random, difficulty) {
    const most = [9, 20, 20, 50, 99][difficulty - 1];
    const start = random.int(1, most);
    const steps: string[] = [];
    let value = start;
    while (steps.length < difficulty + 1) {
      const kind = random.pick((['add', 'subtract', 'double', 'multiply', 'halve'] as const).slice(0, [2, 3, 4, 5, 5][difficulty - 1]));
      const by = kind === 'multiply' ? random.int(2, 5) : random.int(1, most);
      if (kind === 'subtract' && difficulty < 5 && by > value) continue;
      if (kind === 'halve' && (value % 2 !== 0 || value === 0)) continue;
      if ((kind === 'double' || kind === 'multiply') && Math.abs(value) > 500) continue;
      if (kind === 'add') value += by;
      else if (kind === 'subtract') value -= by;
      else if (kind === 'double') value *= 2;
      else if (kind === 'multiply') value *= by;
      else value /= 2;
      steps.push({ add: `Add ${by}.`, subtract: `Subtract ${by}.`, double: 'Double it.', multiply: `Multiply by ${by}.`, halve: 'Halve it.' }[kind]);
    }
    return { question: `Start with ${start}. ${steps.join(' ')} What is the result?`, answer: String(value) };
  },
});

/** Which of some numbers is the largest or smallest. */
export const compare = defineTaskFamily({
  name: 'compare_numbers',
  summary: 'the largest or smallest of some numbers',
  levels: ['2 numbers to 99', '3 numbers to 999', '4 numbers from -99 to 99', '2 decimals of different lengths', '4 decimals, below zero too'],
  template: numberOnly,
  reward: 'numeric',
  draw(random, difficulty) {
    const count = [2, 3, 4, 2, 4][difficulty - 1];
    const seen = new Set<number>();
    const texts: string[] = [];
    const values: number[] = []; // in thousandths
    while (texts.length < count) {
      const [low, high] = [[0, 99], [0, 999], [-99, 99], [0, 20], [-20, 20]][difficulty - 1];
      const whole = random.int(low, high);
      const digits = difficulty < 4 ? 0 : random.int(1, 3);
      const decimals = digits === 0 ? 0 : random.int(1, 10 ** digits - 1);
      const value = (Math.abs(whole) * 1000 + decimals * 10 ** (3 - digits)) * (whole < 0 ? -1 : 1);
      if (seen.has(value)) continue;
      seen.add(value);
      values.push(value);
      texts.push(digits === 0 ? String(whole) : `${whole}.${String(decimals).padStart(digits, '0')}`);
    }
    const largest = random.int(0, 1) === 0;
    const best = values.indexOf(largest ? Math.max(...values) : Math.min(...values));
    return { question: `Which of these numbers is the ${largest ? 'largest' : 'smallest'}: ${texts.join(', ')}?`, answer: texts[best], identity: `${largest} ${[...values].sort((a, b) => a - b).join()}` };
  },
});

const digitsOf = (value: number, base: number) => value.toString(base);

/** Numbers from one base into another. */
export const numberBases = defineTaskFamily({
  name: 'number_bases',
  summary: 'numbers from one base into another',
  levels: ['binary to decimal, to 127', 'binary and decimal both ways, to 255', 'hexadecimal and decimal both ways, to 1023', 'decimal and a base from 3 to 9, to 511', 'one base from 2 to 16 into another, none of them 10, to 1023'],
  template: '{question} Reply with the digits only.',
  reward: 'exact',
  draw(random, difficulty) {
    const value = random.int(1, [127, 255, 1023, 511, 1023][difficulty - 1]);
    const other = [2, 2, 16, random.int(3, 9), 0][difficulty - 1];
    let [from, to] = difficulty === 1 || random.int(0, 1) === 0 ? [other, 10] : [10, other];
    if (difficulty === 5) {
      const bases = [2, 3, 4, 5, 6, 7, 8, 9, 16];
      from = random.pick(bases);
      to = random.pick(bases.filter((base) => base !== from));
    }
    return { question: `Write the base-${from} number ${digitsOf(value, from)} in base ${to}.`, answer: digitsOf(value, to), identity: `${value} ${from} ${to}` };
  },
});

/** What term comes next, by each rule that the family draws from; null where a rule does not fit the terms. */
const rules: readonly ((terms: readonly number[]) => number | null)[] = [
  (t) => (differences(t).every((d, _, all) => d === all[0]) ? t[t.length - 1] + t[1] - t[0] : null),
  (t) => (t[0] !== 0 && t.every((x, i) => i === 0 || x * t[0] === t[i - 1] * t[1]) ? (t[t.length - 1] * t[1]) / t[0] : null),
  (t) => (differences(t).every((d, i, all) => d === all[i % 2]) ? t[t.length - 1] + differences(t)[(t.length - 1) % 2] : null),
  (t) => (differences(differences(t)).every((d, _, all) => d === all[0]) ? t[t.length - 1] + differences(t)[t.length - 2] + differences(differences(t))[0] : null),
  (t) => (t.every((x, i) => i < 2 || x === t[i - 1] + t[i - 2]) ? t[t.length - 1] + t[t.length - 2] : null),
  (t) => {
    const [a, b, c] = t;
    const factor = (c - b) / (b - a);
    const add = b - a * factor;
    return Number.isInteger(factor) && t.every((x, i) => i === 0 || x === t[i - 1] * factor + add) ? t[t.length - 1] * factor + add : null;
  },
  (t) => (t.every((x, i) => i < 4 || x - t[i - 2] === t[(i % 2) + 2] - t[i % 2]) ? t[t.length - 2] + t[(t.length % 2) + 2] - t[t.length % 2] : null),
];
function differences(terms: readonly number[]): number[] {
  return terms.slice(1).map((x, i) => x - terms[i]);
}

function sequenceTerms(random: Random, difficulty: number): number[] {
  const start = random.int(difficulty === 1 ? 0 : -9, 20);
  const step = random.int(2, 9) * (difficulty > 1 && random.int(0, 1) === 1 ? -1 : 1);
  const kinds = [['steps'], ['steps'], ['ratio', 'alternating'], ['growing', 'sums'], ['affine', 'interleaved']][difficulty - 1];
  const kind = random.pick(kinds);
  const [a, b] = [random.int(2, 4), random.int(1, 9)];
  const terms = [kind === 'ratio' ? random.int(1, 9) : start];
  if (kind === 'sums') terms.push(random.int(1, 12));
  const second = random.int(0, 20);
  const length = kind === 'steps' ? 5 : kind === 'interleaved' ? 8 : 6;
  while (terms.length < length) {
    const i = terms.length;
    const last = terms[i - 1];
    if (kind === 'steps') terms.push(last + step);
    else if (kind === 'ratio') terms.push(last * a);
    else if (kind === 'alternating') terms.push(last + (i % 2 === 1 ? step : b));
    else if (kind === 'growing') terms.push(last + step + (i - 1) * b);
    else if (kind === 'sums') terms.push(last + terms[i - 2]);
    else if (kind === 'affine') terms.push(last * a + b);
    else terms.push(i === 1 ? second : terms[i - 2] + (i % 2 === 0 ? step : -b));
  }
  return terms;
}

/** The next term of a sequence. One that two of the rules would go on with differently is never asked. */
export const sequences = defineTaskFamily({
  name: 'sequences',
  summary: 'the next term of a sequence of whole numbers',
  levels: ['a constant step, growing', 'a constant step, up or down', 'a constant ratio, or two steps in turn', 'a step that grows steadily, or sums of the two before', 'a multiple of the last plus a constant, or two interleaved sequences'],
  template: numberOnly,
  reward: 'numeric',
  draw(random, difficulty) {
    for (;;) {
      const terms = sequenceTerms(random, difficulty);
      const next = new Set(rules.map((rule) => rule(terms)).filter((term) => term !== null));
      const [answer] = next;
      if (next.size === 1 && Math.abs(answer) < 100_000) return { question: `What is the next number: ${terms.join(', ')}, …?`, answer: String(answer) };
    }
  },
});

const signed = (n: number) => (n < 0 ? `- ${-n}` : `+ ${n}`);
const times = (n: number, name: string) => (n === 1 ? name : n === -1 ? `-${name}` : `${n}${name}`);

/** Linear equations with whole solutions. */
export const equations = defineTaskFamily({
  name: 'equations',
  summary: 'the solution of a linear equation, always a whole number',
  levels: ['x + a = b', 'x - a = b, or a times x = b', 'a times x plus b = c', 'x on both sides, solutions below zero', 'two equations with x and y'],
  template: numberOnly,
  reward: 'numeric',
  draw(random, difficulty) {
    const x = random.int(difficulty < 4 ? 1 : -12, [9, 20, 12, 12, 12][difficulty - 1]);
    const a = random.int(2, 9);
    const b = random.int(1, difficulty === 1 ? 9 : 20);
    const ask = (equation: string, identity = equation) => ({ question: `Solve ${equation} for x.`, answer: String(x), identity });
    if (difficulty === 1) return ask(`x + ${b} = ${x + b}`);
    if (difficulty === 2) return random.int(0, 1) === 0 ? ask(`x - ${b} = ${x - b}`) : ask(`${a}x = ${a * x}`);
    if (difficulty === 3) return ask(`${a}x + ${b} = ${a * x + b}`);
    if (difficulty === 4) {
      const c = random.pick([-4, -3, -2, -1, 1, 2, 3, 4, 5].filter((n) => n !== a));
      const d = (a - c) * x + b;
      return ask(`${a}x ${signed(b)} = ${times(c, 'x')} ${signed(d)}`);
    }
    const y = random.int(-12, 12);
    const [c, d, e, f] = [random.int(1, 5), random.int(1, 5), random.int(1, 5), -random.int(1, 5)];
    return ask(`${times(c, 'x')} + ${times(d, 'y')} = ${c * x + d * y} and ${times(e, 'x')} - ${times(-f, 'y')} = ${e * x + f * y}`); // c·f − d·e < 0: always one solution
  },
});
