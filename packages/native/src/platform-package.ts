/** How a user who has Rust makes the library himself. */
export const howToBuild = 'with Rust installed, `node build.mjs --force` in the folder of @espalier/native builds it';

/** What decides which prebuilt library fits: the names of Node. */
export interface Platform {
  platform: string;
  arch: string;
  /** Whether the C library is glibc; matters on Linux alone. */
  glibc: boolean;
}

/** napi-rs's name of a platform: `linux-x64-gnu`, `darwin-arm64`, `win32-x64-msvc`. */
export function platformName({ platform, arch, glibc }: Platform): string {
  if (platform === 'linux') return `linux-${arch}-${glibc ? 'gnu' : 'musl'}`;
  return platform === 'win32' ? `win32-${arch}-msvc` : `${platform}-${arch}`;
}

/** The npm package with the prebuilt library for this process: `@espalier/native-linux-x64-gnu`. */
export const platformPackage = (): string => `@espalier/native-${platformName(thisPlatform())}`;

/**
 * Why there is no library, in one line, and what would do.
 * @param manifest the package.json of `@espalier/native`: as published, it lists the prebuilt packages as optional dependencies; in the repository, none
 */
export function whyMissing(name: string, manifest: { optionalDependencies?: Record<string, string> }): string {
  const prebuilt = Object.keys(manifest.optionalDependencies ?? {});
  if (prebuilt.length === 0) return `the Rust library is not built (${howToBuild})`;
  if (prebuilt.includes(name)) return `${name} is not installed: npm leaves it out with --omit=optional, or where a lock file from another platform lacks it`;
  return `there is no prebuilt Rust library for ${name.replace('@espalier/native-', '')} (${howToBuild})`;
}

/** Only glibc says its version in Node's report. The report looks at the network too unless it is told not to, which costs time. */
function thisPlatform(): Platform {
  const { platform, arch } = process;
  if (platform !== 'linux') return { platform, arch, glibc: false };
  const report = process.report as typeof process.report & { excludeNetwork?: boolean };
  const before = report.excludeNetwork;
  report.excludeNetwork = true;
  const { header } = report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
  report.excludeNetwork = before;
  return { platform, arch, glibc: header.glibcVersionRuntime !== undefined };
}
