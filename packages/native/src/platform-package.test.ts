import { describe, expect, it } from 'vitest';
import { platformName, platformPackage, whyMissing } from './platform-package';

describe('the package with the prebuilt library', () => {
  it('is named as napi-rs names platforms', () => {
    expect(platformName({ platform: 'linux', arch: 'x64', glibc: true })).toBe('linux-x64-gnu');
    expect(platformName({ platform: 'linux', arch: 'arm64', glibc: false })).toBe('linux-arm64-musl');
    expect(platformName({ platform: 'darwin', arch: 'arm64', glibc: false })).toBe('darwin-arm64');
    expect(platformName({ platform: 'win32', arch: 'x64', glibc: false })).toBe('win32-x64-msvc');
    expect(platformPackage()).toMatch(new RegExp(`^@espalier/native-${process.platform}-${process.arch}`));
  });

  it('is missing for one of three reasons', () => {
    const published = { optionalDependencies: { '@espalier/native-linux-x64-gnu': '0.1.0' } };
    expect(whyMissing('@espalier/native-linux-x64-gnu', {})).toMatch(/^the Rust library is not built .*build\.mjs/);
    expect(whyMissing('@espalier/native-linux-x64-gnu', published)).toMatch(/not installed.*--omit=optional/);
    expect(whyMissing('@espalier/native-linux-x64-musl', published)).toMatch(/^there is no prebuilt Rust library for linux-x64-musl .*build\.mjs/);
  });
});
