import { Fd, File, OpenFile, WASI, wasi, WASIProcExit } from '@bjorn3/browser_wasi_shim';
import type { CallResult, RunReply, RunRequest, WireValue } from '../src/protocol';
import { serve } from './boot';
import { pythonRunner } from './python-runner';
import { withMemoryLimit } from './wasm-memory-limit';

/** CPython compiled to WebAssembly for WASI, which the owner hands over: this process can open no file. */
declare const parts: { python: Uint8Array };

const modules = new Map<number, WebAssembly.Module>();
/** Memory that the interpreter takes itself before a program begins. */
const ownMegabytes = 48;

function moduleFor(memoryMb: number): WebAssembly.Module {
  let module = modules.get(memoryMb);
  if (!module) modules.set(memoryMb, (module = new WebAssembly.Module(withMemoryLimit(parts.python, (memoryMb + ownMegabytes) * 16) as BufferSource)));
  return module;
}

class TooMuchOutput extends Error {}

/** Collects what is written to it, up to a limit that all share. */
class Sink extends Fd {
  text = '';
  private readonly decoder = new TextDecoder();
  constructor(private readonly budget: { left: number }) {
    super();
  }
  override fd_write(data: Uint8Array) {
    this.budget.left -= data.length;
    if (this.budget.left < 0) throw new TooMuchOutput('the program writes too much');
    this.text += this.decoder.decode(data, { stream: true });
    return { ret: wasi.ERRNO_SUCCESS, nwritten: data.length };
  }
  override fd_fdstat_get() {
    const fdstat = new wasi.Fdstat(wasi.FILETYPE_CHARACTER_DEVICE, 0);
    fdstat.fs_rights_base = BigInt(wasi.RIGHTS_FD_WRITE);
    return { ret: wasi.ERRNO_SUCCESS, fdstat };
  }
}

/** One interpreter, from its start to its end. Its descriptors are the three that every program has; of the host there is no folder to open anything in. */
function interpret(module: WebAssembly.Module, args: string[], stdin: string, budget: { left: number }): { exit: number; stdout: string; stderr: string } {
  const [stdout, stderr] = [new Sink(budget), new Sink(budget)];
  const host = new WASI(['python', ...args], ['PYTHONHASHSEED=0', 'PYTHONDONTWRITEBYTECODE=1'], [new OpenFile(new File(new TextEncoder().encode(stdin))), stdout, stderr]);
  const instance = new WebAssembly.Instance(module, { wasi_snapshot_preview1: host.wasiImport });
  let exit: number;
  try {
    exit = host.start(instance as unknown as Parameters<WASI['start']>[0]);
  } catch (error) {
    if (!(error instanceof WASIProcExit)) throw error;
    exit = error.code;
  }
  return { exit, stdout: stdout.text, stderr: stderr.text };
}

const lastLine = (text: string) => text.trim().split('\n').at(-1)?.slice(0, 200) ?? '';

function run(request: RunRequest): RunReply {
  const reply: RunReply = { results: [], printed: '' };
  const budget = { left: request.limits.outputBytes };
  const module = moduleFor(request.limits.memoryMb);
  try {
    if (request.inputs) {
      for (const stdin of request.inputs) {
        const { exit, stdout, stderr } = interpret(module, ['-I', '-c', request.code], stdin, budget);
        reply.results.push(exit === 0 ? { value: stdout } : { error: lastLine(stderr) || `it ended with status ${exit}` });
        reply.printed += stdout;
      }
      return reply;
    }
    const { stdout, stderr } = interpret(module, ['-I', '-c', pythonRunner, request.code, request.entry ?? '', JSON.stringify(request.calls ?? [])], '', budget);
    reply.printed = stdout;
    for (const line of stderr.split('\n').filter(Boolean)) {
      const result = readResult(line);
      if (result === null) break; // written by the program, or by an interpreter that gave up
      if ('load' in result) reply.error = result.load;
      else reply.results.push(result);
    }
    if (reply.error === undefined && reply.results.length === 0) reply.error = lastLine(stderr) || 'it ended before its function was called';
  } catch (error) {
    if (error instanceof TooMuchOutput) reply.limit = 'output';
    else if (error instanceof RangeError) reply.limit = 'stack';
    else if (error instanceof WebAssembly.RuntimeError) reply.limit = /unreachable/.test(error.message) ? 'memory' : 'crash';
    else throw error;
  }
  return reply;
}

function readResult(line: string): CallResult | { load: string } | null {
  try {
    const read = JSON.parse(line) as Record<string, unknown>;
    if (typeof read['load'] === 'string') return { load: read['load'] };
    return typeof read['error'] === 'string' ? { error: read['error'] } : 'value' in read ? { value: read['value'] as WireValue } : null;
  } catch {
    return null;
  }
}

// The interpreter is compiled, and has run once, before the first program waits for it.
run({ code: 'def first(): return 1', entry: 'first', calls: ['[]'], limits: { timeMs: 0, memoryMb: 64, outputBytes: 1000 } });
serve((request) => run(request as RunRequest));
