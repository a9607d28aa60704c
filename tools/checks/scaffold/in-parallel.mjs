// Commands side by side.
import { spawn } from 'node:child_process';

export const inParallel = {
  /** Runs a command to its end and gives what it printed; where it fails, its output is in the error. No shell. */
  run(command, args, { cwd, env }) {
    return new Promise((resolve, reject) => {
      const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
      let stdout = '';
      let stderr = '';
      child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text));
      child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
      child.on('error', reject);
      child.on('close', (status, signal) => (status === 0 ? resolve({ stdout, stderr }) : reject(new Error(`${command} ${args.join(' ')} in ${cwd} ended with ${signal ?? status}\n${stdout}\n${stderr}`))));
    });
  },

  /** `work` on every item, so many at a time. */
  async each(items, atOnce, work) {
    const waiting = [...items];
    const worker = async () => {
      for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await work(item);
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
  },
};
