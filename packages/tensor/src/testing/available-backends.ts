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
