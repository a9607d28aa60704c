import { defineReward, EspalierError, type Reward, type RewardFunction, type RewardSample } from '@espalier/spec';
import { readTests, runTests, type CodeTest, type TestVerdict } from './code-tests';
import { entryPattern } from './entry-name';
import { programOf } from './program-of';
import { requirePositive } from './require-positive';
import { sharedSandbox, type CodeLanguage, type Sandbox, type SandboxLimits } from './sandbox';
import { VerdictCache } from './verdict-cache';

export interface TestsOptions extends SandboxLimits {
  /** The one column with tests that counts. Default: `tests` and `hiddenTests` (or `hidden_tests`) together. */
  column?: string;
  /** Give the share of tests passed, and not only 1 for all of them. Default false. */
  partial?: boolean;
  /** What programs are in, unless the row's `language` says otherwise. Default `typescript`; `javascript` and `python` too. */
  language?: CodeLanguage;
  /** Where programs run. Default: one sandbox for the whole process. */
  sandbox?: Sandbox;
  name?: string;
}

const languages: Readonly<Record<string, CodeLanguage>> = { typescript: 'typescript', ts: 'typescript', javascript: 'javascript', js: 'javascript', python: 'python', py: 'python' };

/**
 * 1 when the program in the completion passes all tests of its row, else 0, with the share of tests passed as the component `pass_rate`. Programs run in a sandbox; expected values
 * never enter it. A completion without a program gets 0. Null where the row has no tests, or has what cannot be read as tests, and for calls without an `entry`.
 *
 * Rows: `tests` and `hiddenTests` hold lists of `{ args, expected }` or `{ stdin, stdout }` (see `readTests`), `entry` the function's name, `signature` how it begins, for completions
 * that go on from there.
 *
 * @throws EspalierError `bad_config` for limits that are not positive or a language that is not known; when scoring, `not_found` for Python where its package is not installed
 * @example
 * const [score] = await testsReward().score([sample], { step: 0 }); // with row { entry: 'add', tests: [{ args: [2, 3], expected: 5 }] }: { total: 1, components: { pass_rate: 1 } }
 */
export function testsReward(options: TestsOptions = {}): RewardFunction {
  const { column, partial = false, timeLimit = 2000, memoryLimit = 64, outputLimit = 65_536 } = options;
  const limits = { timeLimit, memoryLimit, outputLimit };
  for (const [name, value] of Object.entries(limits)) requirePositive(name, value);
  if (memoryLimit > 1024) throw new EspalierError('bad_config', `\`memoryLimit\` is ${memoryLimit}`, { fix: 'megabytes, at most 1024' });
  const usual = languageOf(options.language ?? 'typescript');
  if (usual === null) throw new EspalierError('bad_config', `\`language\` is ${JSON.stringify(options.language)}`, { fix: 'typescript, javascript or python' });
  const cache = new VerdictCache<TestVerdict>(({ limit }) => limit !== 'time' && limit !== 'crash');

  const scoreOne = async ({ completion, row }: RewardSample, signal: AbortSignal | undefined): Promise<Reward | null> => {
    const language = row['language'] === undefined || row['language'] === null ? usual : languageOf(row['language']);
    const suite = suiteOf(row, column);
    if (language === null || suite === null) return null;
    const { tests, entry } = suite;
    const program = programOf(completion, { language, entry, ...(typeof row['signature'] === 'string' ? { signature: row['signature'] } : {}) });
    if (program === null) return { total: 0, components: { pass_rate: 0 }, note: 'there is no program' };
    const sandbox = options.sandbox ?? sharedSandbox();
    const { passRate, note } = await cache.get([program, language, entry, tests], () => runTests(program, tests, { sandbox, language, entry, ...limits, signal }), signal);
    return { total: partial ? passRate : Number(passRate === 1), components: { pass_rate: passRate }, ...(note === undefined ? {} : { note }) };
  };
  return defineReward({ name: options.name ?? 'tests', score: (samples, { signal }) => Promise.all(samples.map((sample) => scoreOne(sample, signal))) });
}

const languageOf = (value: unknown): CodeLanguage | null => (typeof value === 'string' && Object.hasOwn(languages, value.toLowerCase()) ? languages[value.toLowerCase()] : null);

/** All tests of a row and what they call; null where there are none, or some that cannot be read or called. */
function suiteOf(row: Record<string, unknown>, column: string | undefined): { tests: CodeTest[]; entry: string | undefined } | null {
  const columns = column === undefined ? ['tests', 'hiddenTests', 'hidden_tests'] : [column];
  const given = columns.filter((name) => row[name] !== undefined && row[name] !== null).map((name) => readTests(row[name]));
  if (given.length === 0) return null;
  const tests: CodeTest[] = [];
  let entry: unknown = row['entry'] ?? undefined;
  for (const one of given) {
    if (one === null) return null;
    tests.push(...one.tests);
    entry ??= one.entry;
  }
  if (entry !== undefined && (typeof entry !== 'string' || !entryPattern.test(entry))) return null;
  return entry === undefined && tests.some((test) => 'args' in test) ? null : { tests, entry };
}
