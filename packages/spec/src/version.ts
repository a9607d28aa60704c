import { EspalierError } from './errors';

/** The versions of the contracts that this package speaks. */
export const supportedVersions = ['v1'] as const;
export type SpecVersion = (typeof supportedVersions)[number];

/**
 * Refuses a part that was made for contracts which this package does not speak, and says which side is the older one.
 * @param kind what it is, for the message: `plugin`, `stage`, `reward function` …
 * @throws EspalierError `incompatible_plugin`
 * @example
 * assertSpecVersion(plugin, 'plugin');
 */
export function assertSpecVersion(part: { specVersion?: unknown; name?: unknown }, kind: string): asserts part is { specVersion: SpecVersion; name?: unknown } {
  const { specVersion: found } = part;
  if (supportedVersions.includes(found as SpecVersion)) return;
  const what = `${kind} "${String(part.name ?? 'unnamed')}"`;
  const here = supportedVersions.join(', ');
  if (found === undefined) throw new EspalierError('incompatible_plugin', `${what} does not say which contracts it was made for; this Espalier speaks ${here}`, { fix: `declare it with the define… helpers of @espalier/spec, or add specVersion: '${supportedVersions.at(-1)}'` });
  throw new EspalierError('incompatible_plugin', `${what} speaks contracts ${JSON.stringify(found)}, this Espalier speaks ${here}`, { fix: fixOf(found, what) });
}

function fixOf(found: unknown, what: string): string {
  const version = typeof found === 'string' ? /^v(\d+)$/.exec(found) : null;
  if (!version) return `a specVersion is written as ${JSON.stringify(supportedVersions.at(-1))}`;
  const newest = Math.max(...supportedVersions.map((known) => Number(known.slice(1))));
  return Number(version[1]) > newest ? `update Espalier, or install an earlier release of ${what}` : `install a later release of ${what}`;
}
