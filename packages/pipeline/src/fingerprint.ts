import type { Stage } from '@espalier/spec';

const mark = Symbol.for('espalier.stage.fingerprint');

/**
 * Adds to a stage what its result depends on besides its inputs: its options and the digests of the files that it reads. A resumed pipeline runs a
 * stage again when that changed. A stage without one is taken as unchanged while its name and inputs are.
 * @example
 * export const filter = (options: FilterOptions) => withFingerprint(defineStage({ name: 'filter', … }), async () => ({ options }));
 */
export function withFingerprint<S extends object>(stage: S, fingerprint: () => unknown): S {
  return Object.assign(stage, { [mark]: fingerprint });
}

/** The stage's fingerprint, null when it has none. */
export async function fingerprintOf(stage: Stage): Promise<unknown> {
  const make = (stage as { [mark]?: () => unknown })[mark];
  return make ? await make() : null;
}
