import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const bin = fileURLToPath(new URL('../bin/espalier.js', import.meta.url));
const built = fileURLToPath(new URL('../dist/index.js', import.meta.url));

/** A tiny checkpoint of another package's fixtures. */
export const fixture = (name: string): string => fileURLToPath(new URL(`../../models/fixtures/${name}`, import.meta.url));

export interface Outcome {
  status: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  cwd?: string;
  env?: Record<string, string>;
  /** Called with all of standard error so far: to send a signal at the right moment. */
  onStderr?: (text: string, kill: (signal: NodeJS.Signals) => void) => void;
}

/** Runs the built command, as a user would, on the plain backend. */
export function espalier(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  if (!existsSync(built)) throw new Error('the command is not built: `npm run build` first');
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [bin, ...args], { cwd: options.cwd, env: { ...process.env, ESPALIER_BACKEND: 'cpu', NODE_OPTIONS: '', ...options.env } });
    const outcome: Outcome = { status: null, signal: null, stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => (outcome.stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      outcome.stderr += text;
      options.onStderr?.(outcome.stderr, (signal) => child.kill(signal));
    });
    child.on('error', reject);
    child.on('close', (status, signal) => resolve({ ...outcome, status, signal }));
  });
}

/** The one JSON object that standard output holds; fails when there is anything else. */
export function onlyJson(outcome: Outcome): Record<string, unknown> {
  if (outcome.status !== 0) throw new Error(`status ${outcome.status}: ${outcome.stderr}`);
  const lines = outcome.stdout.split('\n');
  if (lines.length !== 2 || lines[1] !== '') throw new Error(`standard output holds ${lines.length - 1} lines: ${outcome.stdout.slice(0, 500)}`);
  return JSON.parse(lines[0]) as Record<string, unknown>;
}

/** The lines that the command said, without progress. */
export const complaints = (outcome: Outcome): string[] => outcome.stderr.split('\n').filter((line) => line.startsWith('espalier: '));
