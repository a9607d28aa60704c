import { describe, it } from 'vitest';
import type { Checks } from './check';

/** What every suite takes besides what it needs of its own. */
export interface SuiteOptions<Name extends string = string> {
  /** Of the block of tests. Default: the part's name where it is known. */
  title?: string;
  /** Checks that are left out, by name, with the reason. They show as skipped. */
  except?: Partial<Record<Name, string>>;
  /** Milliseconds that a check may take. Default 120 000. */
  timeout?: number;
}

/**
 * One test a check. A check that is excepted is a skipped test whose name says why.
 * @example
 * describeChecks('my rewards', rewardFunctionSubject(mine), rewardFunctionChecks);
 */
export function describeChecks<Subject, Name extends string>(title: string, subject: Subject, checks: Checks<Subject, Name>, options: Pick<SuiteOptions<Name>, 'except' | 'timeout'> = {}): void {
  const { except = {}, timeout = 120_000 } = options as SuiteOptions;
  for (const name of Object.keys(except)) if (!Object.hasOwn(checks, name)) throw new Error(`${title}: \`except\` names ${JSON.stringify(name)}, which is no check (one of ${Object.keys(checks).join('; ')})`);
  describe(title, () => {
    for (const [name, run] of Object.entries(checks) as [Name, (subject: Subject) => Promise<void>][]) {
      const reason = (except as Partial<Record<string, string>>)[name];
      if (reason === undefined) it(name, () => run(subject), timeout);
      else it.skip(`${name} (left out: ${reason})`, () => run(subject));
    }
  });
}

/** The title of a suite: what the caller says, or the kind with the name of the part where it is one and not a factory. */
export function suiteTitle(kind: string, part: unknown, title: string | undefined): string {
  if (title !== undefined) return title;
  const name = typeof part === 'object' && part !== null ? (part as { name?: unknown }).name : undefined;
  return typeof name === 'string' && name !== '' ? `${kind} "${name}"` : kind;
}
