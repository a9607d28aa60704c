import { spawnSync } from 'node:child_process';
import { BuildError } from './fail.mjs';

/**
 * Runs a command to its end and gives what it printed.
 * @param options.fix what would do where the command is not there
 * @throws BuildError with the end of what it said
 */
export function run(command, args, { fix, cwd, env, doing = `${command} ${args.slice(0, 3).join(' ')}` } = {}) {
  const { status, signal, error, stdout, stderr } = spawnSync(command, args, { cwd, env: { ...process.env, ...env }, encoding: 'utf8', maxBuffer: 64 << 20 });
  if (error?.code === 'ENOENT') throw new BuildError(`${command} is not here`, fix);
  if (error) throw new BuildError(`${doing}: ${error.message}`);
  if (status !== 0) {
    const said = `${stderr}${stdout}`.trim().split('\n').filter((line) => !/^\s*$/.test(line)).slice(-12).join('\n  ');
    throw new BuildError(`${doing} ended with ${signal ?? `status ${status}`}:\n  ${said}`);
  }
  return stdout;
}
