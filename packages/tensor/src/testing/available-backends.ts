import { selectBackend } from '../backend';

/**
 * Those of the named backends that this machine has; a line on standard error for each of the others, so that a run says what it did not check.
 * @example
 * describe.each(await availableBackends('native', 'cpu'))('on %s', (backend) => { … });
 */
export async function availableBackends(...names: string[]): Promise<string[]> {
  const found: string[] = [];
  for (const name of names) {
    try {
      await selectBackend(name);
      found.push(name);
    } catch (error) {
      console.warn(`not checked here: ${(error as Error).message}`);
    }
  }
  return found;
}

/** The backend of tests that want one: the environment's `ESPALIER_BACKEND`, else `cpu`, plain arithmetic that is everywhere. */
export const testBackend = (): string => process.env.ESPALIER_BACKEND || 'cpu';

/** Those of the named backends that this machine has; the environment's `ESPALIER_BACKEND` alone where it is set, which makes one suite the suite of any backend. */
export async function testBackends(...names: string[]): Promise<string[]> {
  const asked = process.env.ESPALIER_BACKEND;
  if (!asked) return availableBackends(...names);
  await selectBackend(asked); // a run that would check nothing ends here
  return [asked];
}
