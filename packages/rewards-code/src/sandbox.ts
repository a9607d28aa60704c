import { availableParallelism } from 'node:os';
import type { CheckReply, CheckRequest, CodeProblem, LimitName, RunReply, RunRequest, TranspileReply, TranspileRequest } from './protocol';
import { startProcess } from './sandbox-process';
import { WorkerPool, type Outcome } from './worker-pool';
import { workerParts, type WorkerKind } from './worker-parts';

export type CodeLanguage = 'typescript' | 'javascript' | 'python';

export interface SandboxLimits {
  /** Milliseconds of processor time for a program with all its calls; a worker that does not stop by itself is killed. Default 2,000. */
  timeLimit?: number;
  /** Megabytes for what the program keeps. Default 64. */
  memoryLimit?: number;
  /** Characters that it may print and give as results. Default 65,536. */
  outputLimit?: number;
}

export interface RunOptions extends SandboxLimits {
  /** Default `typescript`, of which JavaScript is a part. */
  language?: CodeLanguage;
  /** The function to call. */
  entry?: string;
  /** Calls the entry once for each; each is a list of arguments as a literal of the language (JSON is one). */
  calls?: readonly string[];
  /** Runs the program once for each, as its standard input. */
  inputs?: readonly string[];
  signal?: AbortSignal | undefined;
}

export type RunResult = RunReply;

export interface CheckOptions {
  /** Declarations that the program may use, as the text of a `.d.ts` file. */
  declarations?: string;
  /** What the entry must be usable as: `function add(a: number, b: number): number`, `const limit: number`. */
  signature?: string;
  /** A name that the program must declare, and implement. */
  entry?: string;
  /** TypeScript's `strict`. Default true. */
  strict?: boolean;
  /** Milliseconds of processor time. Default 2,000. */
  timeLimit?: number;
  signal?: AbortSignal | undefined;
}

export interface CheckResult {
  /** True when it was checked to the end and nothing was wrong. */
  compiles: boolean;
  problems: CodeProblem[];
  limit?: LimitName;
}

/** Where programs that nobody trusts are compiled and run. */
export interface Sandbox {
  /** Runs a program. What it throws, and the limits that it hits, are in the result; an error is thrown only for what the caller did. */
  run(code: string, options?: RunOptions): Promise<RunResult>;
  /** Checks the types of a TypeScript program. */
  check(code: string, options?: CheckOptions): Promise<CheckResult>;
  /** Workers that are there now and were started so far, by kind. */
  workers(): Record<WorkerKind, { alive: number; started: number }>;
  close(): Promise<void>;
}

/** Characters of the longest program that is looked at. */
const longestProgram = 200_000;
const wallOf = (timeMs: number) => 2 * timeMs + 500;

/**
 * A pool of processes for untrusted programs. They start when they are needed, and end when they have been idle for a while; an open sandbox does not keep a program alive.
 * Each runs without environment, and under Node's permission model without any file, process or thread; JavaScript and Python run inside WebAssembly there, in an instance
 * of their own. Whoever hits a limit has his process ended.
 *
 * @param options `workers`: processes of each kind at a time; default: as many as there are processors, at most 8, for the type checker at most 4
 * @example
 * const sandbox = openSandbox();
 * await sandbox.run('const add = (a: number, b: number) => a + b', { entry: 'add', calls: ['[1, 2]'] }); // { results: [{ value: 3 }], printed: '' }
 */
export function openSandbox(options: { workers?: number } = {}): Sandbox {
  const processors = availableParallelism();
  const pool = (kind: WorkerKind, most: number, heapMb: number, stackKb?: number) =>
    new WorkerPool({ size: options.workers ?? Math.min(processors, most), start: async () => startProcess(await workerParts(kind), { heapMb, ...(stackKb === undefined ? {} : { stackKb }) }) });
  const pools: Record<WorkerKind, WorkerPool> = { quickjs: pool('quickjs', 8, 192), typescript: pool('typescript', 4, 640), python: pool('python', 4, 256) };

  /** A worker that died for no reason of the program's is not held against the program: it is asked once more. */
  async function ask<Reply extends { limit?: LimitName }>(kind: WorkerKind, request: RunRequest | CheckRequest | TranspileRequest, wallMs: number, empty: Reply, signal: AbortSignal | undefined): Promise<Reply> {
    let outcome: Outcome<Reply> = { ended: 'crash' };
    for (let attempt = 0; attempt < 2 && 'ended' in outcome && outcome.ended === 'crash'; attempt++) outcome = await pools[kind].run<Reply>(request, { wallMs, signal });
    return 'ended' in outcome ? { ...empty, limit: outcome.ended } : outcome.reply;
  }

  return {
    async run(code, { language = 'typescript', entry, calls, inputs, timeLimit = 2000, memoryLimit = 64, outputLimit = 65_536, signal } = {}) {
      const nothing: RunReply = { results: [], printed: '' };
      if (code.length > longestProgram) return { ...nothing, error: `the program is longer than ${longestProgram} characters` };
      const request: RunRequest = { code, limits: { timeMs: timeLimit, memoryMb: memoryLimit, outputBytes: outputLimit }, ...(entry === undefined ? {} : { entry }), ...(calls ? { calls } : {}), ...(inputs ? { inputs } : {}) };
      if (language === 'python') return ask('python', request, wallOf(timeLimit) + 1000, nothing, signal); // an interpreter starts for each run
      const { js, problems, limit } = await ask<TranspileReply>('typescript', { kind: 'transpile', code }, 5000, { js: '', problems: [] }, signal);
      if (limit !== undefined) return { ...nothing, limit };
      if (problems.length > 0) return { ...nothing, error: `line ${problems[0].line}: ${problems[0].message}` };
      return ask('quickjs', { ...request, code: js }, wallOf(timeLimit), nothing, signal);
    },
    async check(code, { declarations = '', signature = '', entry = '', strict = true, timeLimit = 2000, signal } = {}) {
      if (code.length > longestProgram) return { compiles: false, problems: [{ line: 0, code: 0, message: `the program is longer than ${longestProgram} characters` }] };
      const { problems, limit } = await ask<CheckReply>('typescript', { kind: 'check', code, declarations, signature, entry, strict, timeMs: timeLimit }, wallOf(timeLimit), { problems: [] }, signal);
      return { compiles: limit === undefined && problems.length === 0, problems, ...(limit === undefined ? {} : { limit }) };
    },
    workers: () => Object.fromEntries(Object.entries(pools).map(([kind, one]) => [kind, { alive: one.alive, started: one.started }])) as ReturnType<Sandbox['workers']>,
    close: async () => void (await Promise.all(Object.values(pools).map((one) => one.close()))),
  };
}

let shared: Sandbox | undefined;

/** The sandbox that rewards use when they are given none: one for the whole process. */
export function sharedSandbox(): Sandbox {
  return (shared ??= openSandbox());
}
