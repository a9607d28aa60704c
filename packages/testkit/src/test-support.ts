import { expect } from 'vitest';
import type { Checks } from './check';

/** That a check fails on a subject, and says what was expected, what was found, and why. */
export async function expectViolation<Subject>(run: (subject: Subject) => Promise<void>, subject: Subject, message: RegExp): Promise<void> {
  const error: unknown = await run(subject).then(() => null, (failure: unknown) => failure);
  expect(error, `the check passed where /${message.source}/ was to be said`).not.toBeNull();
  expect((error as Error).message).toMatch(message);
  expect(error).toMatchObject({ name: 'ContractViolation', message: expect.stringMatching(/^expected .+; found .+\. .+\.$/s) as string });
}

/** That every check passes. */
export async function expectConformance<Subject>(checks: Checks<Subject>, subject: Subject): Promise<void> {
  for (const [name, run] of Object.entries(checks)) await expect(run(subject), name).resolves.toBeUndefined();
}
