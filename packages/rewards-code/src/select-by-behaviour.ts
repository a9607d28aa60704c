import { EspalierError } from '@espalier/spec';
import { runTests, type CodeTest } from './code-tests';
import { generateInputs } from './generate-inputs';
import type { CallResult } from './protocol';
import { sharedSandbox, type CodeLanguage, type Sandbox, type SandboxLimits } from './sandbox';
import { toLiteral } from './values';

export interface SelectOptions extends SandboxLimits {
  /** Tests that are known: programs which fail one are out. */
  examples: readonly CodeTest[];
  /** The function that they call. Left out for programs that read and print. */
  entry?: string;
  /** Most programs to choose. Default 10. */
  k?: number;
  /** Lists of arguments (or, for programs that read and print, texts) that programs are compared on. Default: 50 made from the examples. */
  inputs?: readonly (readonly unknown[] | string)[];
  /** For the inputs that are made. Default 0. */
  seed?: number;
  language?: CodeLanguage;
  sandbox?: Sandbox;
  signal?: AbortSignal;
}

export interface Selection {
  /** Programs by their index, best first: one of each cluster, the largest cluster first, then a second of each, and so on. At most `k`. */
  selected: number[];
  /** Programs that pass all examples, by their index. */
  passing: number[];
  /** Those that give the same on every input, the largest cluster first. */
  clusters: number[][];
}

/**
 * Which of many programs to submit, as AlphaCode does it (2203.07814, §4.5 and §4.6): what fails an example test is dropped, the rest is clustered by behaviour on generated inputs, and one
 * is taken from each cluster, the largest first. Wrong programs are wrong in many ways, right ones are alike.
 *
 * @throws EspalierError `bad_config` without examples, or for call tests without `entry`
 * @example
 * const { selected } = await selectByBehaviour(programs, { entry: 'add', examples: [{ args: [2, 3], expected: 5 }], k: 3 });
 */
export async function selectByBehaviour(programs: readonly string[], options: SelectOptions): Promise<Selection> {
  const { examples, entry, k = 10, seed = 0, inputs, sandbox = sharedSandbox(), ...rest } = options;
  if (examples.length === 0) throw new EspalierError('bad_config', 'there are no example tests', { fix: 'at least one: programs are filtered by them' });
  if (entry === undefined && examples.some((test) => 'args' in test)) throw new EspalierError('bad_config', 'examples call a function, and `entry` is missing', { fix: 'its name' });
  if (!(Number.isInteger(k) && k >= 1)) throw new EspalierError('bad_config', `\`k\` is ${k}`, { fix: 'a whole number from 1' });

  const verdicts = await Promise.all(programs.map((program) => runTests(program, examples, { ...rest, sandbox, entry })));
  const passing = verdicts.flatMap(({ passRate }, i) => (passRate === 1 ? [i] : []));

  const chosen = inputs ?? generateInputs(examples, { seed });
  const calls = chosen.filter((input): input is readonly unknown[] => typeof input !== 'string');
  const texts = chosen.filter((input): input is string => typeof input === 'string');
  const literal = (args: readonly unknown[]) => (rest.language === 'python' ? JSON.stringify(args) : `[${args.map(toLiteral).join(',')}]`);
  const behaviours = await Promise.all(
    passing.map(async (i) => {
      const replies = await Promise.all([
        ...(calls.length > 0 && entry !== undefined ? [sandbox.run(programs[i], { ...rest, entry, calls: calls.map(literal) })] : []),
        ...(texts.length > 0 ? [sandbox.run(programs[i], { ...rest, inputs: texts })] : []),
      ]);
      return JSON.stringify(replies.map(({ results, error, limit }) => [results.map(seen), error !== undefined, limit]));
    }),
  );
  const clusters = new Map<string, number[]>();
  passing.forEach((program, at) => clusters.set(behaviours[at], [...(clusters.get(behaviours[at]) ?? []), program]));
  const ordered = [...clusters.values()].sort((a, b) => b.length - a.length || a[0] - b[0]);
  return { selected: inTurns(ordered).slice(0, k), passing, clusters: ordered };
}

/** What a program does on an input, as far as it counts: what it gives, or that it throws, whatever the words. */
const seen = ({ value, error }: CallResult): unknown => (error === undefined ? [inOneOrder(value)] : 'threw');

/** Objects, sets and maps are the same in any order. */
function inOneOrder(value: unknown): unknown {
  if (!Array.isArray(value)) return value;
  const [kind, ...parts] = (value as unknown[]).map(inOneOrder);
  if (kind === 'object' || kind === 'set' || kind === 'map') parts.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  return [kind, ...parts];
}

function inTurns(lists: readonly (readonly number[])[]): number[] {
  const rounds = Math.max(0, ...lists.map(({ length }) => length));
  return Array.from({ length: rounds }, (_, round) => lists.flatMap((list) => list.slice(round, round + 1))).flat();
}
