/**
 * A second solver for each family: it reads the text of the question, knows nothing of how it was made, and goes another way than the family does.
 * Each gives the answer as the family writes it, or says of an answer whether it is right.
 */
export type Solver = (question: string, answer: string) => string | boolean;

const match = (text: string, pattern: RegExp): string[] => {
  const found = pattern.exec(text);
  if (!found) throw new Error(`${pattern} does not match ${text}`);
  return found.slice(1);
};
const evaluate = (expression: string): number => {
  if (!/^[\d+\-*/() ]+$/.test(expression)) throw new Error(`not arithmetic: ${expression}`);
  return Number(new Function(`return ${expression}`)());
};

/** Next term: the lowest-order linear recurrence with a constant that fits, found by solving for its coefficients in exact fractions. */
function nextTerm(terms: number[]): number {
  const tries: ((t: number[], i: number) => number[])[] = [(t, i) => [t[i - 1], 1], (t, i) => [t[i - 1], t[i - 2], 1], (t, i) => [t[i - 2], 1]];
  for (const features of tries) {
    const order = features === tries[0] ? 1 : 2;
    const rows = terms.map((value, i) => ({ i, value })).slice(order).map(({ i, value }) => [...features(terms, i), value]);
    const solution = eliminate(rows);
    if (!solution) continue;
    const last = features([...terms, 0], terms.length);
    const next = last.reduce((sum, x, k) => sum + x * solution[k], 0);
    if (Number.isInteger(Math.round(next * 1e6) / 1e6)) return Math.round(next);
  }
  // steps in turn: halves that each go up by a constant over two places
  const step = terms[terms.length - 2] - terms[terms.length - 4];
  return terms[terms.length - 2] + step;
}

/** A solution of an overdetermined system, null where there is none; free unknowns are 0. */
function eliminate(rows: number[][]): number[] | null {
  const m = rows.map((row) => [...row]);
  const unknowns = m[0].length - 1;
  const pivots: number[] = [];
  let r = 0;
  for (let c = 0; c < unknowns && r < m.length; c++) {
    const best = m.slice(r).reduce((a, row, i) => (Math.abs(row[c]) > Math.abs(m[a][c]) ? r + i : a), r);
    if (Math.abs(m[best][c]) < 1e-9) continue;
    [m[r], m[best]] = [m[best], m[r]];
    for (let k = 0; k < m.length; k++) {
      if (k === r) continue;
      const factor = m[k][c] / m[r][c];
      m[k] = m[k].map((x, j) => x - factor * m[r][j]);
    }
    pivots.push(c);
    r++;
  }
  if (m.slice(r).some((row) => Math.abs(row[unknowns]) > 1e-6)) return null;
  const solution = new Array<number>(unknowns).fill(0);
  pivots.forEach((c, k) => (solution[c] = m[k][unknowns] / m[k][c]));
  return solution;
}

const toNumber = (digits: string, base: number) => [...digits].reduce((value, digit) => value * base + '0123456789abcdef'.indexOf(digit), 0);
const fromNumber = (value: number, base: number): string => (value < base ? '0123456789abcdef'[value] : fromNumber(Math.floor(value / base), base) + '0123456789abcdef'[value % base]);

/** Insertion into an alphabetical list, by comparing letter after letter. */
function insertSorted(words: string[]): string[] {
  const before = (a: string, b: string, i = 0): boolean => (i >= a.length ? true : i >= b.length ? false : a[i] === b[i] ? before(a, b, i + 1) : a.charCodeAt(i) < b.charCodeAt(i));
  const sorted: string[] = [];
  for (const word of words) sorted.splice(sorted.filter((other) => before(other, word)).length, 0, word);
  return sorted;
}

/** Truth by rewriting the text until one word is left. */
function rewrite(text: string): string {
  let now = text.replace(/(\d+) ([<>=]) (\d+)/g, (_, a: string, sign: string, b: string) => String(sign === '<' ? +a < +b : sign === '>' ? +a > +b : +a === +b));
  for (let last = ''; last !== now;) {
    last = now;
    now = now.replace(/\((true|false)\)/, '$1');
    if (now !== last) continue;
    now = now.replace(/not (true|false)/, (_, x: string) => String(x === 'false'));
    if (now !== last) continue;
    now = now.replace(/(true|false) (and|or|xor|implies) (true|false)(?=$|\))/, (_, x: string, op: string, y: string) => String({ and: `${x}${y}` === 'truetrue', or: `${x}${y}` !== 'falsefalse', xor: x !== y, implies: `${x}${y}` !== 'truefalse' }[op]));
  }
  return now;
}

const listEdits: [RegExp, (list: string[], word: string) => string[]][] = [
  [/^reverse its order$/, (list) => list.reduce<string[]>((out, word) => [word, ...out], [])],
  [/^remove "(\w+)"$/, (list, word) => list.flatMap((other) => (other === word ? [] : [other]))],
  [/^keep only every second word, beginning with the second$/, (list) => list.flatMap((word, i) => ((i + 1) % 2 === 0 ? [word] : []))],
  [/^move its first word to the end$/, ([first, ...rest]) => rest.concat(first)],
];
const wordEdits: [RegExp, (word: string, a: string, b: string) => string][] = [
  [/^keep only its first (\d) letters$/, (word, n) => Array.from(word).filter((_, i) => i < +n).join('')],
  [/^keep only its last (\d) letters$/, (word, n) => Array.from(word).filter((_, i) => i >= word.length - +n).join('')],
  [/^replace every "(\w)" by "(\w)"$/, (word, a, b) => Array.from(word, (letter) => (letter === a ? b : letter)).join('')],
  [/^remove the vowels a, e, i, o and u$/, (word) => Array.from(word).filter((letter) => !'aeiou'.includes(letter)).join('')],
  [/^swap its first and its last letter$/, (word) => Array.from(word, (letter, i) => (i === 0 ? word.at(-1)! : i === word.length - 1 ? word[0] : letter)).join('')],
  [/^write every "(\w)" twice$/, (word, a) => Array.from(word, (letter) => (letter === a ? letter.repeat(2) : letter)).join('')],
];
function applyEdits<T>(told: string, value: T, edits: [RegExp, (value: T, a: string, b: string) => T][]): T {
  return told.split(', then ').reduce((now, step) => {
    const edit = edits.find(([pattern]) => pattern.test(step));
    if (!edit) throw new Error(`unknown edit: ${step}`);
    const [a = '', b = ''] = edit[0].exec(step)!.slice(1);
    return edit[1](now, a, b);
  }, value);
}

const inSmallest: Record<string, [kind: string, size: number]> = { mm: ['l', 1], cm: ['l', 10], m: ['l', 1e3], km: ['l', 1e6], mg: ['w', 1], g: ['w', 1e3], kg: ['w', 1e6], ml: ['v', 1], cl: ['v', 10], l: ['v', 1e3], second: ['t', 1], minute: ['t', 60], hour: ['t', 3600], day: ['t', 86400], 'm/s': ['s', 3.6], 'km/h': ['s', 1], 'm²': ['a', 1e6], 'cm²': ['a', 100], 'mm²': ['a', 1] };

const letterRules: ((text: string) => string)[] = [
  (t) => t.split('').reduceRight((out, letter) => out + letter, ''), (t) => t.repeat(2), (t) => `${t.substring(1)}${t.charAt(0)}`, (t) => t.substring(0, t.length - 1), (t) => t.substring(1), (t) => t.charAt(0) + t, (t) => t + t.charAt(t.length - 1),
  (t) => t.replace(/./g, (letter) => 'abcdefghijklmnopqrstuvwxyza'['abcdefghijklmnopqrstuvwxyz'.indexOf(letter) + 1]), (t) => t.toLocaleUpperCase('en'),
];

export const solvers: Record<string, Solver> = {
  arithmetic: (q) => String(evaluate(match(q, /^What is ([^?]*)\?/)[0])),
  chain(q) {
    const [start, steps] = match(q, /^Start with (-?\d+)\. (.*) What is the result\?/);
    // all steps as one expression, from the inside out
    const expression = steps.split('. ').reduce((inner, step) => {
      const n = /\d+/.exec(step)?.[0];
      return `(${inner}${step.startsWith('Add') ? `+${n}` : step.startsWith('Subtract') ? `-${n}` : step.startsWith('Double') ? '*2' : step.startsWith('Multiply') ? `*${n}` : '/2'})`;
    }, start);
    return String(evaluate(expression));
  },
  compare_numbers(q) {
    const [which, list] = match(q, /the (largest|smallest): (.*)\?/);
    return list.split(', ').reduce((best, other) => ((Number(other) > Number(best)) === (which === 'largest') ? other : best));
  },
  equations(q) {
    const equations = match(q, /^Solve (.*) for x/)[0].split(' and ').map((equation) => {
      const code = equation.replace(/(\d*)([xy])/g, (_, n: string, name: string) => `${n || 1}*${name}`).replace('=', '===');
      if (!/^[\d+\-*=xy ]+$/.test(code)) throw new Error(q);
      return new Function('x', 'y', `return ${code}`) as (x: number, y: number) => boolean;
    });
    const found: number[] = [];
    for (let x = -60; x <= 60; x++) for (let y = -60; y <= (equations.length > 1 ? 60 : -60); y++) if (equations.every((holds) => holds(x, y))) found.push(x);
    return found.join();
  },
  sequences: (q) => String(nextTerm(match(q, /: (.*), …/)[0].split(', ').map(Number))),
  number_bases(q) {
    const [from, digits, to] = match(q, /base-(\d+) number (\w+) in base (\d+)/);
    return fromNumber(toNumber(digits, +from), +to);
  },
  word_problems(q) {
    const [who, thing] = match(q, /^(\w+) has \d+ (\w+)\./);
    let have = 0;
    for (const sentence of q.split(/(?<=\.) /)) {
      const numbers = (sentence.match(/\d+/g) ?? []).map(Number);
      if (sentence.startsWith('How many') || !sentence.startsWith(who)) continue;
      if (!sentence.includes(thing)) throw new Error(sentence);
      if (/ has \d/.test(sentence)) have = numbers[0];
      else if (sentence.includes('finds')) have += numbers[0];
      else if (sentence.includes('half')) have -= have / 2;
      else if (sentence.includes('gives')) have -= numbers[0];
      else if (sentence.includes('bags')) for (let bag = 0; bag < numbers[0]; bag++) have += numbers[1];
      else if (sentence.includes('twice as many')) have += have + have;
      else throw new Error(sentence);
    }
    return String(have);
  },
  unit_conversion(q) {
    const [unit, amounts] = match(q, /How many (\S+) are (.*)\?/);
    const single = (name: string) => inSmallest[name] ?? inSmallest[name.replace(/s$/, '')];
    const [kind, size] = single(unit);
    const total = amounts.split(/, | and /).reduce((sum, amount) => {
      const [n, name] = amount.split(' ');
      if (single(name)[0] !== kind) throw new Error(q);
      return sum + Number(n) * single(name)[1];
    }, 0);
    return String(Math.round((total / size) * 1e6) / 1e6);
  },
  calendar(q) {
    const names = ['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'];
    const date = /is (\d+) (\w+) (\d{4})\?/.exec(q);
    if (date) return new Date(`${date[2]} ${date[1]}, ${date[3]} 12:00 UTC`).toLocaleDateString('en', { weekday: 'long', timeZone: 'UTC' });
    const [today, tense] = match(q, /^Today is (\w+)\. What day of the week (was|will)/);
    const weeks = Number(/(\d+) weeks?/.exec(q)?.[1] ?? 0);
    let day = names.indexOf(today);
    for (let i = 0; i < weeks * 7 + Number(match(q, /(\d+) days?/)[0]); i++) day = (day + (tense === 'was' ? 6 : 1)) % 7;
    return names[day];
  },
  countdown(q, answer) {
    const [numbers, signs, target] = match(q, /numbers (.*) exactly once, with (.*) and brackets, to make (\d+)/);
    const used = answer.match(/\d+/g)!;
    const sorted = (list: string[]) => [...list].sort().join();
    return sorted(used) === sorted(numbers.split(', ')) && [...answer.replace(/[\d() ]/g, '')].every((sign) => signs.includes(sign)) && evaluate(answer) === Number(target);
  },
  count_letters(q) {
    const [letter, text] = match(q, /letter "(\w)" occur in "([^"]*)"/);
    return String(Array.from(text).filter((other) => other === letter).length);
  },
  sort_words: (q) => insertSorted(match(q, /alphabetically: ([^.]*)\./)[0].split(', ')).join(', '),
  reverse_word: (q) => match(q, /"(\w+)"/)[0].split('').reduceRight((out, letter) => out + letter, ''),
  edit_list(q) {
    const [list, told] = match(q, /^Take the list (.*?) and (.*)\. What/);
    return applyEdits(told, list.split(', '), listEdits as [RegExp, (value: string[], a: string, b: string) => string[]][]).join(', ');
  },
  edit_word(q) {
    const nth = /the (\d+)(st|nd|rd|th) letter of "(\w+)"/.exec(q);
    if (nth) return nth[3].charAt(Number(nth[1]) - 1);
    const [word, told] = match(q, /^Take the word "(\w+)" and (.*)\. What/);
    return applyEdits(told, word, wordEdits);
  },
  boolean_logic: (q) => rewrite(match(q, /true or false: (.*)\?/)[0]),
  brackets(q) {
    const [text, from] = match(q, /^Number the brackets of (\S+) from 1 on\. Which one closes number (\d+)/);
    // the end of the shortest balanced piece that begins there
    for (let end = +from + 1; end <= text.length; end++) {
      let piece = text.slice(+from - 1, end);
      while (/\(\)|\[\]|\{\}/.test(piece)) piece = piece.replace(/\(\)|\[\]|\{\}/, '');
      if (piece === '') return String(end);
    }
    return 'none';
  },
  shortest_path(q) {
    const oneWay = q.startsWith('One-way');
    const [list, from, to] = match(q, /(?:go from|join) (.*)\. How many roads does the shortest way from (\w) to (\w)/);
    // Floyd and Warshall: all pairs
    const far = new Map<string, number>();
    const points = [...new Set(list.match(/\b[A-J]\b/g))];
    for (const edge of list.split(', ')) {
      const [a, b] = edge.split(oneWay ? ' to ' : '-');
      far.set(a + b, 1);
      if (!oneWay) far.set(b + a, 1);
    }
    const of = (pair: string) => far.get(pair) ?? Infinity;
    for (const k of points) for (const i of points) for (const j of points) far.set(i + j, Math.min(of(i + j), of(i + k) + of(k + j)));
    return of(from + to) === Infinity ? '-1' : String(of(from + to));
  },
  set_operations(q) {
    const sets = Object.fromEntries([...q.matchAll(/([ABC]) = \{([^}]*)\}/g)].map(([, name, list]) => [name, new Set(list.split(', ').map(Number))]));
    const inside = (operation: string, a: boolean, b: boolean) => (operation === 'union' ? a || b : operation === 'intersection' ? a && b : operation === 'difference' ? a && !b : a !== b);
    const two = /What is the ([a-z ]+) of \(the ([a-z ]+) of A and B\) and C/.exec(q);
    const one = /What is the ([a-z ]+) of A and B/.exec(q);
    const members: number[] = [];
    for (let n = 0; n < 100; n++) if (two ? inside(two[1], inside(two[2], sets['A'].has(n), sets['B'].has(n)), sets['C'].has(n)) : inside(one![1], sets['A'].has(n), sets['B'].has(n))) members.push(n);
    return members.join(', ');
  },
  analogies(q) {
    const [example, shown, other] = match(q, /^"(\w+)" is to "(\w+)" as "(\w+)"/);
    const options = [...q.matchAll(/\(([A-F])\) (\w+)/g)];
    const possible = options.filter(([, , option]) => letterRules.some((rule) => rule(example) === shown && rule(other) === option));
    return possible.map(([, letter]) => letter).join();
  },
};
