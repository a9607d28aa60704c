// What a run is measured on.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os';

/** Processor, memory, versions and load; `half` says whether the processor multiplies bfloat16 itself. */
export function machine() {
  let features = '';
  try {
    const flags = new Set(/^flags\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))[1].split(' '));
    features = ['avx2', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_bf16', 'amx_int8'].filter((flag) => flags.has(flag)).join(', ');
  } catch {
    // not Linux on x86: the model's name has to do
  }
  return { processor: cpus()[0]?.model.trim() ?? 'unknown', cores: availableParallelism(), memory: `${(totalmem() / 1e9).toFixed(0)} GB`, features, half: /_bf16/.test(features), node: process.versions.node, load: loadavg()[0] };
}

/** The commit that is measured, with a mark where files differ from it. */
export function commit(root) {
  const git = (...args) => execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    return git('rev-parse', '--short=12', 'HEAD') + (git('status', '--porcelain', '--untracked-files=no') ? ' and changes' : '');
  } catch {
    return 'unknown';
  }
}
