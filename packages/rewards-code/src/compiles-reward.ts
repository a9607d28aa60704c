import { defineReward, type Reward, type RewardFunction, type RewardSample } from '@espalier/spec';
import { programOf } from './program-of';
import { sharedSandbox, type CheckResult, type Sandbox } from './sandbox';
import { entryPattern } from './entry-name';
import { requirePositive } from './require-positive';
import { VerdictCache } from './verdict-cache';

export interface CompilesOptions {
  /** TypeScript's `strict`. Default true. */
  strict?: boolean;
  /** Milliseconds of processor time for one check; what takes longer does not compile. Default 2,000. */
  timeLimit?: number;
  /** Column with declarations that the program may use, as the text of a `.d.ts` file. Default `declarations`. */
  declarationsColumn?: string;
  /** Where it is checked. Default: one sandbox for the whole process. */
  sandbox?: Sandbox;
  name?: string;
}

/**
 * 1 when the TypeScript in the completion compiles, else 0. The types are checked against what the row provides: `declarations` that it may use, and the `signature` that `entry`
 * must have. Comments that silence the compiler do nothing; a completion without a program, or whose entry is only declared, or is `any`, gets 0.
 * Null where a column that is there cannot be read, and for rows whose `language` is another.
 *
 * @example
 * const [score] = await compilesReward().score([sample], { step: 0 }); // '```ts\nconst add = (a: number, b: number) => a + b;\n```' with row { entry: 'add' }: 1
 */
export function compilesReward(options: CompilesOptions = {}): RewardFunction {
  const { strict = true, timeLimit = 2000, declarationsColumn = 'declarations' } = options;
  requirePositive('timeLimit', timeLimit);
  const cache = new VerdictCache<CheckResult>(({ limit }) => limit !== 'time' && limit !== 'crash');
  const scoreOne = async ({ completion, row }: RewardSample, signal: AbortSignal | undefined): Promise<Reward | null> => {
    const [declarations, signature, entry, language] = [declarationsColumn, 'signature', 'entry', 'language'].map((column) => textOf(row[column]));
    if (declarations === null || signature === null || entry === null || language === null) return null;
    if ((entry !== '' && !entryPattern.test(entry)) || !['', 'typescript', 'ts'].includes(language.toLowerCase())) return null;
    const program = programOf(completion, { entry, signature });
    if (program === null) return { total: 0, note: 'there is no program' };
    const sandbox = options.sandbox ?? sharedSandbox();
    const { compiles, problems, limit } = await cache.get([program, declarations, signature, entry], () => sandbox.check(program, { declarations, signature, entry, strict, timeLimit, signal }), signal);
    if (compiles) return 1;
    const [first] = problems;
    return { total: 0, note: limit !== undefined ? `stopped: ${limit}` : first.line > 0 ? `line ${first.line}: ${first.message}` : first.message };
  };
  return defineReward({ name: options.name ?? 'compiles', score: (samples, { signal }) => Promise.all(samples.map((sample) => scoreOne(sample, signal))) });
}

/** Text, or '' where there is none; null for what is no text. */
const textOf = (value: unknown): string | null => (value === undefined || value === null ? '' : typeof value === 'string' ? value : null);
