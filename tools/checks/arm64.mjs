// The Rust kernels on 64-bit ARM, where they are plain Rust: node tools/checks/arm64.mjs
// Compiles them, with lints, and runs their tests under qemu where that and a linker are installed (Debian: qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross).
// Needs the target: rustup target add aarch64-unknown-linux-gnu.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const crate = join(fileURLToPath(new URL('../..', import.meta.url)), 'packages/native/crate');
const target = 'aarch64-unknown-linux-gnu';
const [linker, emulator] = ['aarch64-linux-gnu-gcc', 'qemu-aarch64'];

function cargo(...args) {
  console.log(`cargo ${args.join(' ')}`);
  const prefix = 'CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU';
  const { status } = spawnSync('cargo', args, { cwd: crate, stdio: 'inherit', env: { ...process.env, [`${prefix}_LINKER`]: linker, [`${prefix}_RUNNER`]: `${emulator} -L /usr/aarch64-linux-gnu` } });
  if (status !== 0) process.exit(1);
}

cargo('clippy', '--release', '--quiet', '--lib', '--target', target, '--', '-D', 'warnings');
const missing = [linker, emulator].filter((program) => spawnSync(program, ['--version'], { stdio: 'ignore' }).status !== 0);
if (missing.length > 0) console.log(`the tests were not run: no ${missing.join(', no ')}`);
else cargo('test', '--release', '--quiet', '--lib', '--target', target);
