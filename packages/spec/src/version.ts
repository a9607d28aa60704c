import { EspalierError } from './errors';

/** The versions of the contracts that this package speaks. */
export const supportedVersions = ['v1'] as const;
export type SpecVersion = (typeof supportedVersions)[number];

/**
 * Refuses a part that was made for contracts which this package does not speak.
 * @throws EspalierError `incompatible_plugin`
 */
export function assertSpecVersion(part: { specVersion?: unknown; name?: unknown }, kind: string): void {
  if (supportedVersions.includes(part.specVersion as SpecVersion)) return;
  throw new EspalierError('incompatible_plugin', `${kind} "${String(part.name ?? 'unnamed')}" speaks contracts ${JSON.stringify(part.specVersion ?? null)}, this Espalier speaks ${supportedVersions.join(', ')}`, {
    fix: 'install a release of it, or of Espalier, with the same specVersion',
  });
}
