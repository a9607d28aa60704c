// Builds the Rust crate and puts the library where the loader looks for it: espalier-native.node beside this file.
// Without cargo it says so in one line and succeeds: the other backends serve. An up-to-date library is reused.
//
//   node build.mjs [--force]

import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const crate = join(here, 'crate');
const target = join(here, 'espalier-native.node');
const libraries = { darwin: 'libespalier_native.dylib', win32: 'espalier_native.dll' };
const library = libraries[process.platform] ?? 'libespalier_native.so';

/** Messages of the library name source files: as those of the crates and of this folder, not by where they lie on the machine that built it. */
const rustFlags = [
  ...(process.env.RUSTFLAGS ?? '').split(' ').filter(Boolean),
  `--remap-path-prefix=${process.env.CARGO_HOME ?? join(homedir(), '.cargo')}=cargo`,
  `--remap-path-prefix=${crate}=crate`,
];

/** Newest change below a file or folder, in milliseconds. */
function newest(path) {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return 0;
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(0, ...readdirSync(path).map((name) => newest(join(path, name))));
}

function upToDate() {
  const built = statSync(target, { throwIfNoEntry: false });
  if (built === undefined) return false;
  const sources = ['src', 'Cargo.toml', 'Cargo.lock', 'build.rs'].map((name) => join(crate, name));
  return sources.every((path) => newest(path) <= built.mtimeMs);
}

function build() {
  if (!process.argv.includes('--force') && upToDate()) return 'the Rust kernels are up to date';
  const cargo = process.env.CARGO || 'cargo';
  if (spawnSync(cargo, ['--version'], { stdio: 'ignore' }).status !== 0) {
    return existsSync(target)
      ? 'cargo was not found: the Rust kernels stay as they were built before'
      : 'cargo was not found: the Rust kernels are skipped, and another backend will be used (https://rustup.rs installs cargo)';
  }
  const started = Date.now();
  const result = spawnSync(cargo, ['build', '--release', '--lib', '--locked', '--quiet'], {
    cwd: crate,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, CARGO_TARGET_DIR: join(crate, 'target'), CARGO_ENCODED_RUSTFLAGS: rustFlags.join('\x1f') },
  });
  if (result.status !== 0) {
    // A compiler that is too old, no linker, no network for the crates: the packages work without this one.
    // A library from older sources would not fit the loader, so it goes.
    rmSync(target, { force: true });
    process.exitCode = process.env.ESPALIER_REQUIRE_NATIVE ? 1 : 0;
    return `cargo build failed (see above): the Rust kernels are skipped, and another backend will be used`;
  }
  const temporary = `${target}.${process.pid}.tmp`;
  copyFileSync(join(crate, 'target', 'release', library), temporary);
  renameSync(temporary, target); // a process that has the old one loaded keeps it
  return `the Rust kernels were built in ${Math.round((Date.now() - started) / 1000)} s`;
}

console.log(`@espalier/native: ${build()}`);
