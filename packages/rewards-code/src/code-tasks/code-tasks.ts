import { EspalierError } from '@espalier/spec';
import { randomFrom, wholeNumber } from '../random';
import type { CallTest } from '../code-tests';
import type { CodeFamily, Family } from './family';
import { numberFamilies } from './number-families';
import { textFamilies } from './text-families';

/** A row: a small TypeScript function to be completed. */
export interface CodeTask {
  /** What the function does, examples of it, and its first line: the completion goes on from there. With `style: 'chat'` a question that asks for it. */
  prompt: string;
  /** Tests that the prompt shows. */
  tests: CallTest[];
  /** Tests that it does not. */
  hiddenTests: CallTest[];
  /** Types that the signature needs: the text of a `.d.ts` file, often empty. */
  declarations: string;
  /** The function's name. */
  entry: string;
  /** `function add(a: number, b: number): number` */
  signature: string;
  /** A right program, whole. */
  solution: string;
  family: string;
  /** The reward that it is measured by: `tests`. */
  reward: 'tests';
  [column: string]: unknown;
}

export interface CodeTaskOptions {
  /** Default 0. Another seed gives other names, numbers, orders and tests. */
  seed?: number;
  /** `train`, or `test` for held-out tasks: functions of other names, and with other numbers in them. Default `train`. */
  split?: 'train' | 'test';
  /** Default: one of each family. Beyond that families come again, under other names or with other tests. */
  count?: number;
  /** `completion`: the prompt ends inside of the function; `chat`: it asks for the function. Default `completion`. */
  style?: 'completion' | 'chat';
}

const families: readonly Family[] = [...numberFamilies, ...textFamilies];
const exampleCount = 2;
const hiddenCount = 6;

/** Families that {@link codeTasks} has tasks of. */
export const codeFamilyNames: readonly string[] = families.map((family) => ('make' in family ? family.make(family.from) : family).family);

/**
 * Small TypeScript functions to complete, easy enough for a small model to get some right: add two numbers, the last item, is it even. The same seed gives the same tasks.
 *
 * @throws EspalierError `bad_config` for a count or a seed that is no whole number from 0, or another split or style
 * @example
 * const rows = codeTasks({ seed: 1, split: 'train', count: 200 }); // rows for compilesReward() and testsReward()
 */
export function codeTasks(options: CodeTaskOptions = {}): CodeTask[] {
  const { seed = 0, split = 'train', count = families.length, style = 'completion' } = options;
  for (const [name, value] of Object.entries({ seed, count })) if (!(Number.isInteger(value) && value >= 0)) throw new EspalierError('bad_config', `\`${name}\` is ${value}`, { fix: 'a whole number from 0' });
  if (split !== 'train' && split !== 'test') throw new EspalierError('bad_config', `\`split\` is ${JSON.stringify(split)}`, { fix: 'train or test' });
  if (style !== 'completion' && style !== 'chat') throw new EspalierError('bad_config', `\`style\` is ${JSON.stringify(style)}`, { fix: 'completion or chat' });
  const random = randomFrom(seed * 2 + (split === 'train' ? 0 : 1));
  const order: number[] = [];
  return Array.from({ length: count }, () => {
    if (order.length === 0) order.push(...shuffled(families.length, random));
    return makeTask(families[order.pop()!], split, style, random);
  });
}

function shuffled(length: number, random: () => number): number[] {
  const order = Array.from({ length }, (_, i) => i);
  for (let i = length - 1; i > 0; i--) {
    const j = wholeNumber(random, 0, i);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** Every third number is kept for held-out tasks. */
function constantFor({ from, to }: { from: number; to: number }, split: 'train' | 'test', random: () => number): number {
  const fitting = Array.from({ length: to - from + 1 }, (_, i) => from + i).filter((constant) => (constant % 3 === 0) === (split === 'test'));
  return fitting[wholeNumber(random, 0, fitting.length - 1)];
}

function makeTask(from: Family, split: 'train' | 'test', style: 'completion' | 'chat', random: () => number): CodeTask {
  const family: CodeFamily = 'make' in from ? from.make(constantFor(from, split, random)) : from;
  const { names, params, returns, says, body, declarations = '' } = family;
  const entry = split === 'test' ? names[names.length - 1] : names[wholeNumber(random, 0, names.length - 2)];
  const signature = `function ${entry}(${params.map(([name, type]) => `${name}: ${type}`).join(', ')}): ${returns}`;
  const all = differentTests(family, exampleCount + hiddenCount, random);
  const examples = Math.min(exampleCount, Math.floor(all.length / 2)); // of `not` there are two tests at most
  const tests = all.slice(0, examples);
  const shown = tests.map(({ args, expected }) => `${entry}(${args.map(show).join(', ')}) returns ${show(expected)}`);
  const before = declarations === '' ? '' : `${declarations}\n\n`;
  const prompt =
    style === 'completion'
      ? `${before}// ${[says, ...shown].join('\n// ')}\n${signature} {\n`
      : `Write a TypeScript function.\n\n${says}\n${shown.join('\n')}\n\n\`\`\`ts\n${before}${signature}\n\`\`\`\n\nAnswer with the whole function in one code block.`;
  return { prompt, tests, hiddenTests: all.slice(examples), declarations, entry, signature, solution: `${signature} {\n  ${body}\n}`, family: family.family, reward: 'tests' };
}

/** Tests with different arguments, as far as there are so many. The examples are as different in what they expect as the draw allows. */
function differentTests({ args, solve }: CodeFamily, count: number, random: () => number): CallTest[] {
  const tests = new Map<string, CallTest>();
  for (let tries = 0; tests.size < count && tries < 20 * count; tries++) {
    const drawn = args.map((make) => make(random));
    const key = JSON.stringify(drawn);
    if (!tests.has(key)) tests.set(key, { args: drawn, expected: (solve as (...values: unknown[]) => unknown)(...(JSON.parse(key) as unknown[])) });
  }
  const [first, ...rest] = tests.values();
  const other = rest.findIndex(({ expected }) => JSON.stringify(expected) !== JSON.stringify(first.expected));
  if (other > 0) rest.unshift(...rest.splice(other, 1));
  return [first, ...rest];
}

/** A value as it is written in a program. */
function show(value: unknown): string {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return `{ ${Object.entries(value).map(([name, part]) => `${name}: ${show(part)}`).join(', ')} }`;
  if (Array.isArray(value)) return `[${value.map(show).join(', ')}]`;
  return typeof value === 'string' ? `'${value}'` : String(Object.is(value, -0) ? 0 : value);
}
