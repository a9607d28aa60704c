import { defineTaskFamily } from './family';
import { sample, wordsOfLength } from './words';

/** True or false, of an expression with brackets. */
export const booleanLogic = defineTaskFamily({
  name: 'boolean_logic',
  summary: 'whether an expression is true or false',
  levels: ['1 or 2 of and, or; not', '3 of these', '4 of these', '4 operators, xor and implies too', '6 operators, comparisons of numbers too'],
  template: '{question} Reply with true or false only.',
  reward: 'exact',
  draw(random, difficulty) {
    const operators = (['and', 'or', 'xor', 'implies'] as const).slice(0, difficulty < 4 ? 2 : 4);
    const leaf = (): [string, boolean] => {
      const value = random.int(0, 1) === 1;
      if (difficulty < 5 || random.int(0, 1) === 0) return [String(value), value];
      const [a, b] = [random.int(0, 20), random.int(0, 20)];
      const [sign, holds] = random.pick([['<', a < b], ['>', a > b], ['=', a === b]] as const);
      return [`${a} ${sign} ${b}`, holds];
    };
    const build = (size: number, outer = false): [string, boolean] => {
      if (size === 0) {
        const [text, value] = leaf();
        if (random.int(0, 3) > 0) return [text.includes(' ') ? `(${text})` : text, value];
        return [`not ${text.includes(' ') ? `(${text})` : text}`, !value];
      }
      const left = random.int(0, size - 1);
      const [a, x] = build(left);
      const [b, y] = build(size - 1 - left);
      const operator = random.pick(operators);
      const value = operator === 'and' ? x && y : operator === 'or' ? x || y : operator === 'xor' ? x !== y : !x || y;
      return [outer ? `${a} ${operator} ${b}` : `(${a} ${operator} ${b})`, value];
    };
    const [text, value] = build(difficulty === 1 ? random.int(1, 2) : [0, 3, 4, 4, 6][difficulty - 1], true);
    return { question: `Is this true or false: ${text}?`, answer: String(value) };
  },
});

const kindsOfBrackets = ['()', '[]', '{}'] as const;

/** Which bracket closes which. */
export const brackets = defineTaskFamily({
  name: 'brackets',
  summary: 'the position of the bracket that closes another',
  levels: ['4 or 6 brackets of one kind', '8 brackets of one kind', '10 brackets of two kinds', '14 brackets of three kinds', '20 brackets of three kinds'],
  template: '{question} Reply with the number only.',
  reward: 'numeric',
  draw(random, difficulty) {
    const pairs = difficulty === 1 ? random.int(2, 3) : [0, 4, 5, 7, 10][difficulty - 1];
    const kinds = kindsOfBrackets.slice(0, [1, 1, 2, 3, 3][difficulty - 1]);
    let text = '';
    const open: { at: number; close: string }[] = [];
    const closedBy: [number, number][] = [];
    let begun = 0;
    while (closedBy.length < pairs) {
      if (begun < pairs && (open.length === 0 || random.int(0, 1) === 0)) {
        const kind = random.pick(kinds);
        open.push({ at: text.length + 1, close: kind[1] });
        text += kind[0];
        begun++;
      } else {
        const { at, close } = open.pop()!;
        text += close;
        closedBy.push([at, text.length]);
      }
    }
    const [from, to] = random.pick(closedBy);
    return { question: `Number the brackets of ${text} from 1 on. Which one closes number ${from}?`, answer: String(to) };
  },
});

/** The fewest steps between two points of a graph. */
export const shortestPath = defineTaskFamily({
  name: 'shortest_path',
  summary: 'the fewest steps from one point of a graph to another',
  levels: ['4 points', '5 points', '6 points', '8 points, one-way', '10 points, one-way; there may be no way'],
  template: '{question} Reply with the number only.',
  reward: 'numeric',
  draw(random, difficulty) {
    const points = [...'ABCDEFGHIJ'].slice(0, [4, 5, 6, 8, 10][difficulty - 1]);
    const oneWay = difficulty > 3;
    for (;;) {
      const names = sample(random, points, points.length);
      const edges = new Map<string, [string, string]>();
      const wanted = points.length + random.int(0, Math.floor(points.length / 2)) - (oneWay ? 0 : 1);
      while (edges.size < wanted) {
        const [a, b] = sample(random, names, 2);
        edges.set(oneWay || a < b ? a + b : b + a, [a, b]);
      }
      const steps = distances(names[0], [...edges.values()], oneWay);
      const goal = names[1];
      const answer = steps.get(goal) ?? -1;
      if (answer < 0 && difficulty < 5) continue;
      if (answer < 0 && random.int(0, 3) > 0) continue; // most questions have a way
      const list = [...edges.values()].map(([a, b]) => (oneWay ? `${a} to ${b}` : `${a}-${b}`)).join(', ');
      const text = oneWay ? `One-way roads go from ${list}.` : `Roads join ${list}.`;
      const none = difficulty === 5 ? ' If there is no way, the answer is -1.' : '';
      return { question: `${text} How many roads does the shortest way from ${names[0]} to ${goal} take?${none}`, answer: String(answer), identity: `${[...edges.keys()].sort().join()} ${names[0]}${goal}` };
    }
  },
});

function distances(start: string, edges: readonly (readonly [string, string])[], oneWay: boolean): Map<string, number> {
  const known = new Map([[start, 0]]);
  for (const point of known.keys()) {
    for (const [a, b] of edges) {
      const next = a === point ? b : !oneWay && b === point ? a : null;
      if (next !== null && !known.has(next)) known.set(next, known.get(point)! + 1);
    }
  }
  return known;
}

/** Sets and what is made of them. */
export const setOperations = defineTaskFamily({
  name: 'set_operations',
  summary: 'union, intersection and difference of sets of numbers',
  levels: ['intersection of 2 sets of 3', 'union or intersection of 2 sets of 4', 'union, intersection or difference of 2 sets of 5', 'two operations on 3 sets of 5', 'two operations on 3 sets of 7, symmetric difference too'],
  template: '{question} Reply with the numbers only, separated by commas.',
  reward: 'set',
  draw(random, difficulty) {
    const size = [3, 4, 5, 5, 7][difficulty - 1];
    const operations = ([['intersection'], ['union', 'intersection'], ['union', 'intersection', 'difference'], ['union', 'intersection', 'difference'], ['union', 'intersection', 'difference', 'symmetric difference']] as const)[difficulty - 1];
    const apply = (operation: string, a: readonly number[], b: readonly number[]) =>
      operation === 'union' ? [...new Set([...a, ...b])] : operation === 'intersection' ? a.filter((x) => b.includes(x)) : operation === 'difference' ? a.filter((x) => !b.includes(x)) : [...a.filter((x) => !b.includes(x)), ...b.filter((x) => !a.includes(x))];
    const range = Array.from({ length: Math.ceil(size * 2.2) }, (_, i) => i + 1);
    for (;;) {
      const sets = Array.from({ length: difficulty > 3 ? 3 : 2 }, () => sample(random, range, size));
      const [first, second] = [random.pick(operations), random.pick(operations)];
      let result = apply(first, sets[0], sets[1]);
      if (sets.length === 3) result = apply(second, result, sets[2]);
      if (result.length === 0) continue;
      const told = sets.map((set, i) => `${'ABC'[i]} = {${set.join(', ')}}`).join(', ');
      const asked = sets.length === 3 ? `the ${second} of (the ${first} of A and B) and C` : `the ${first} of A and B`;
      return { question: `${told}. What is ${asked}?`, answer: result.sort((a, b) => a - b).join(', '), identity: `${sets.map((set) => [...set].sort((a, b) => a - b).join()).join(' ')} ${asked}` };
    }
  },
});

/** What a pair of letters may show, as a rule that is applied to other letters. */
const transforms: readonly ((text: string) => string)[] = [
  (text) => [...text].reverse().join(''),
  (text) => text + text,
  (text) => text.slice(1) + text[0],
  (text) => text.slice(0, -1),
  (text) => text.slice(1),
  (text) => text[0] + text,
  (text) => text + text[text.length - 1],
  (text) => [...text].map((letter) => String.fromCharCode(97 + ((letter.charCodeAt(0) - 96) % 26))).join(''),
  (text) => text.toUpperCase(),
];

/** Analogies of letters, as a choice. Of the options only one follows from the example by any of the rules. */
export const analogies = defineTaskFamily({
  name: 'analogies',
  summary: 'which letters are to others as in an example, by choice',
  levels: ['3 letters, 2 options', '3 letters, 3 options', '4 letters, 4 options', 'words, 5 options', 'words, 6 options'],
  template: '{question}\nReply with the letter of the right option only.',
  reward: 'choice',
  draw(random, difficulty) {
    const text = () => (difficulty > 3 ? random.pick(wordsOfLength(4, 6)) : sample(random, [...'abcdefghijklmnopqrstuvwxyz'], difficulty === 3 ? 4 : 3).join(''));
    for (;;) {
      const [example, other] = [text(), text()];
      const shown = random.pick(transforms)(example);
      const right = new Set(transforms.filter((rule) => rule(example) === shown).map((rule) => rule(other)));
      const wrong = [...new Set(transforms.map((rule) => rule(other)))].filter((option) => !right.has(option) && option !== other);
      if (right.size !== 1 || example === other || wrong.length < difficulty) continue;
      const options = sample(random, [...right, ...sample(random, wrong, difficulty)], difficulty + 1);
      const answer = 'ABCDEF'[options.findIndex((option) => right.has(option))];
      return { question: `"${example}" is to "${shown}" as "${other}" is to:\n${options.map((option, i) => `(${'ABCDEF'[i]}) ${option}`).join('\n')}`, answer, columns: { choices: options }, identity: `${example} ${shown} ${other}` };
    }
  },
});

