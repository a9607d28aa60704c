import { ContractViolation, show } from './contract-violation';

/** Checks by name: each passes, or throws a {@link ContractViolation}. */
export type Checks<Subject, Name extends string = string> = Readonly<Record<Name, (subject: Subject) => Promise<void>>>;

/**
 * Checks whose failures are all {@link ContractViolation}s: what a part throws where it should not becomes one that says so.
 * @param kind of the part, as in "a reward function"
 * @example
 * export const pipelineChecks = contractChecks('a pipeline', { 'has stages': async ({ stages }: Pipeline) => demand(stages.length > 0, 'a stage', 'none', 'Nothing would run.') });
 */
export function contractChecks<Checked extends Readonly<Record<string, (subject: never) => Promise<void>>>>(kind: string, checks: Checked): Checked {
  const guarded = Object.entries(checks).map(([name, run]) => [
    name,
    async (subject: never) => {
      try {
        await run(subject);
      } catch (error) {
        if (error instanceof ContractViolation) throw error;
        throw new ContractViolation({ expected: `${kind} to get through the check "${name}" without an error`, found: show(error), why: 'What a part throws ends the run that uses it.' }, { cause: error });
      }
    },
  ]);
  return Object.fromEntries(guarded) as Checked;
}

/** A part, or what makes one: each check then gets one of its own. */
export type PartOrFactory<Part> = Part | (() => Part | Promise<Part>);

/**
 * What makes a part, whichever way it was given.
 * @example
 * const create = factoryOf(() => politeReward());
 */
export function factoryOf<Part extends object>(part: PartOrFactory<Part>): () => Promise<Part> {
  return async () => (typeof part === 'function' ? await (part as () => Part | Promise<Part>)() : part);
}

/**
 * Runs checks one after another, without a test runner.
 * @returns those that failed, with what they said
 * @example
 * const failures = await runChecks(rewardFunctionChecks, rewardFunctionSubject(mine));
 */
export async function runChecks<Subject>(checks: Checks<Subject>, subject: Subject): Promise<{ name: string; error: Error }[]> {
  const failures: { name: string; error: Error }[] = [];
  for (const [name, run] of Object.entries(checks)) {
    try {
      await run(subject);
    } catch (error) {
      failures.push({ name, error: error instanceof Error ? error : new Error(show(error)) });
    }
  }
  return failures;
}

/** Runs `work` with a part, and closes it afterwards, whatever came of it. */
export async function using<Part extends { close?(): Promise<void> }, T>(create: () => Promise<Part>, work: (part: Part) => Promise<T>): Promise<T> {
  const part = await create();
  try {
    return await work(part);
  } finally {
    await part.close?.();
  }
}

/** The promise, or a violation when it has not settled in time. */
export async function within<T>(promise: Promise<T>, milliseconds: number, expected: string, why: string): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new ContractViolation({ expected, found: `nothing after ${milliseconds} ms`, why })), milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** What a promise came to. */
export type Outcome<T> = { value: T; error?: undefined } | { value?: undefined; error: unknown };

/** What a call came to, whether it threw at once, rejected, or gave a value. */
export async function outcome<T>(call: () => T | Promise<T>): Promise<Outcome<T>> {
  try {
    return { value: await call() };
  } catch (error) {
    return { error: error ?? new Error('it threw nothing') };
  }
}

/** An error with this code, or for `aborted` the platform's own `AbortError`. */
export function hasCode(error: unknown, code: string): boolean {
  if (typeof error !== 'object' || error === null) return false;
  return (error as { code?: unknown }).code === code || (code === 'aborted' && (error as { name?: unknown }).name === 'AbortError');
}
