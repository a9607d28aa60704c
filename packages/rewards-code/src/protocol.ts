/**
 * What the caller's process and a sandbox process say to each other. Everything is plain JSON: an expected value is in none of it.
 */

/** A value as it leaves a sandbox. Scalars that JSON has stand for themselves; everything else is an array that begins with its kind. */
export type WireValue = null | boolean | number | string | readonly [kind: WireKind, ...parts: unknown[]];
export type WireKind = 'array' | 'object' | 'map' | 'set' | 'date' | 'number' | 'bigint' | 'undefined' | 'function' | 'symbol' | 'other';

/** Why a program was stopped. */
export type LimitName = 'time' | 'memory' | 'output' | 'stack' | 'crash';

export interface RunLimits {
  /** Milliseconds of processor time, for the whole program with all its calls. */
  timeMs: number;
  memoryMb: number;
  /** Bytes that it may print, and characters that its results may take. */
  outputBytes: number;
}

/** Runs a program, then calls its entry once for each list of arguments; or only runs it, once for each input. */
export interface RunRequest {
  code: string;
  /** With `calls`: the name of the function to call. */
  entry?: string;
  /** Each an array literal, in the program's language. */
  calls?: readonly string[];
  /** What the program reads from standard input, one run each. */
  inputs?: readonly string[];
  limits: RunLimits;
}

/** What one call gave: a value or what it threw. */
export type CallResult = { value: WireValue; error?: undefined } | { value?: undefined; error: string };

export interface RunReply {
  /** One a call that ended, in order; fewer than were asked for when a limit was hit. */
  results: CallResult[];
  /** Why the program itself could not be run. */
  error?: string;
  limit?: LimitName;
  /** What was printed, all runs together, as far as it was kept. */
  printed: string;
}

export interface CheckRequest {
  kind: 'check';
  code: string;
  declarations: string;
  signature: string;
  entry: string;
  strict: boolean;
  timeMs: number;
}

export interface CodeProblem {
  /** From 1, in the program; 0 for what concerns it as a whole. */
  line: number;
  /** TypeScript's number for it; 0 for one of ours. */
  code: number;
  message: string;
}

export interface CheckReply {
  problems: CodeProblem[];
  limit?: LimitName;
}

export interface TranspileRequest {
  kind: 'transpile';
  code: string;
}

export interface TranspileReply {
  js: string;
  problems: CodeProblem[];
  limit?: LimitName;
}
