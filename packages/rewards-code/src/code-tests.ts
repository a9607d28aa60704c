import type { CallResult, LimitName, WireValue } from './protocol';
import type { CodeLanguage, Sandbox, SandboxLimits } from './sandbox';
import { defaultTolerance, sameValue, toLiteral, toWire } from './values';

/** The entry, called with these arguments, gives what is expected. */
export interface CallTest {
  args: readonly unknown[];
  expected: unknown;
  /** Relative difference up to which numbers that are not whole are equal. Default 1e-9. */
  tolerance?: number;
}

/** The program, given this as its standard input, prints what is expected: line by line, spaces at the ends of lines and empty lines at the end aside. */
export interface ProgramTest {
  stdin: string;
  stdout: string;
}

export type CodeTest = CallTest | ProgramTest;

export interface TestOptions extends SandboxLimits {
  sandbox: Sandbox;
  /** The function that call tests call. */
  entry?: string | undefined;
  /** Default `typescript`. */
  language?: CodeLanguage;
  signal?: AbortSignal | undefined;
}

export interface TestVerdict {
  /** One a test. A test that was not reached, since a limit was hit before, is not passed. */
  passed: boolean[];
  /** Share of tests passed, from 0 to 1. */
  passRate: number;
  /** Why it failed, where it did: what was thrown first, or that a value is another one. */
  note?: string;
  limit?: LimitName;
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * Tests as rows have them: a list of `{ args, expected }` (or `{ input: […], output }`) or of `{ stdin, stdout }` (or `{ input: '…', output: '…' }`); lists side by side
 * as `{ inputs, outputs }` with `fn_name` for calls, as APPS has them; each also as JSON text. Null for anything else, and for an empty list.
 */
export function readTests(value: unknown): { tests: CodeTest[]; entry?: string } | null {
  if (typeof value === 'string') {
    try {
      return readTests(JSON.parse(value));
    } catch {
      return null;
    }
  }
  if (isObject(value)) {
    const { inputs, outputs, fn_name: name } = value;
    if (!Array.isArray(inputs) || !Array.isArray(outputs) || inputs.length !== outputs.length) return null;
    const listed = readTests(inputs.map((input, i) => (typeof name === 'string' ? { args: input as unknown, expected: outputs[i] as unknown } : { stdin: input as unknown, stdout: outputs[i] as unknown })));
    return listed && { ...listed, ...(typeof name === 'string' ? { entry: name } : {}) };
  }
  if (!Array.isArray(value) || value.length === 0) return null;
  const tests = value.map(readTest);
  return tests.every((test) => test !== null) ? { tests } : null;
}

function readTest(value: unknown): CodeTest | null {
  if (!isObject(value)) return null;
  const args = value['args'] ?? value['input'];
  const expectedName = ['expected', 'output'].find((name) => name in value);
  if (Array.isArray(args) && expectedName !== undefined) {
    const { tolerance } = value;
    return { args, expected: value[expectedName], ...(typeof tolerance === 'number' && tolerance >= 0 ? { tolerance } : {}) };
  }
  const stdin = value['stdin'] ?? value['input'];
  const stdout = value['stdout'] ?? value['output'];
  return typeof stdin === 'string' && typeof stdout === 'string' ? { stdin, stdout } : null;
}

const isCall = (test: CodeTest): test is CallTest => 'args' in test;

/** What is printed, as it is compared. */
export function printedLines(text: string): string {
  return text.replace(/[ \t\r]+$/gm, '').replace(/\n+$/, '');
}

/**
 * Runs a program against tests. The sandbox is told arguments and inputs, and gives back values as data; expected values stay here, where they are compared: nothing that a
 * program does can reach them, and what it says about itself is not asked.
 */
export async function runTests(program: string, tests: readonly CodeTest[], options: TestOptions): Promise<TestVerdict> {
  const { sandbox, entry, ...rest } = options;
  const python = rest.language === 'python';
  const passed = new Array<boolean>(tests.length).fill(false);
  const calls = tests.map((test, at) => ({ test, at })).filter((one): one is { test: CallTest; at: number } => isCall(one.test));
  const runs = tests.map((test, at) => ({ test, at })).filter((one): one is { test: ProgramTest; at: number } => !isCall(one.test));
  let note: string | undefined;
  let limit: LimitName | undefined;
  const judge = (at: number, { value, error }: CallResult, same: (value: WireValue) => boolean) => {
    passed[at] = error === undefined && same(value!);
    if (!passed[at]) note ??= error === undefined ? `test ${at + 1}: another result` : `test ${at + 1}: ${error}`;
  };
  if (calls.length > 0) {
    const literal = (args: readonly unknown[]) => (python ? JSON.stringify(args) : `[${args.map(toLiteral).join(',')}]`);
    const reply = await sandbox.run(program, { ...rest, ...(entry === undefined ? {} : { entry }), calls: calls.map(({ test }) => literal(test.args)) });
    reply.results.slice(0, calls.length).forEach((result, i) => judge(calls[i].at, result, (value) => sameValue(value, toWire(calls[i].test.expected), calls[i].test.tolerance ?? defaultTolerance)));
    note ??= reply.error;
    limit = reply.limit;
  }
  if (runs.length > 0 && limit === undefined) {
    const reply = await sandbox.run(program, { ...rest, inputs: runs.map(({ test }) => test.stdin) });
    reply.results.slice(0, runs.length).forEach((result, i) => judge(runs[i].at, result, (value) => typeof value === 'string' && printedLines(value) === printedLines(runs[i].test.stdout)));
    note ??= reply.error;
    limit = reply.limit;
  }
  const passRate = tests.length === 0 ? 0 : passed.filter(Boolean).length / tests.length;
  if (limit !== undefined) note = `stopped: ${limit}`;
  return { passed, passRate, ...(note === undefined || passRate === 1 ? {} : { note }), ...(limit === undefined ? {} : { limit }) };
}
