import variant from '@jitl/quickjs-wasmfile-release-sync';
import { newQuickJSWASMModuleFromVariant, newVariant, type QuickJSContext, type QuickJSHandle, type QuickJSRuntime } from 'quickjs-emscripten-core';
import type { CallResult, LimitName, RunReply, RunRequest, WireValue } from '../src/protocol';
import { cpuMs, serve } from './boot';
import { encodeHandle, TooLarge } from './encode-handle';
import { prelude } from './prelude';

/** The text of QuickJS's WebAssembly, which the owner hands over: this process can open no file. */
declare const parts: { wasm: Uint8Array };

const wasmModule = new WebAssembly.Module(parts.wasm as BufferSource);
const pageBytes = 65_536;
const firstPages = 256; // what the module declares as its least
/** Room that QuickJS itself takes at first. */
const ownMegabytes = 16;

const helperNames = ['isArray', 'kindOf', 'apply', 'runTimers', 'entryOf', 'toText', 'setInput'] as const;
type Helper = (typeof helperNames)[number];

/** A program stopped by a limit: its worker is ended after the reply. */
class Stopped {
  limit: LimitName | null = null;
}

/** What a room asks of the run that is in it. */
interface Tenant {
  request: RunRequest;
  stopped: Stopped;
  deadline: number;
  /** False when too much is printed. */
  print(text: string): boolean;
}

/**
 * Everything a program is run in: an instance of QuickJS with a memory of its own, which cannot grow over the limit. All that QuickJS knows is in that memory. So it is
 * remembered, byte by byte, as it is before any program, and the next program finds it so again: a new instance in all but the time it takes.
 */
class Room {
  readonly helpers: Record<Helper, QuickJSHandle>;
  private readonly fresh: Uint8Array;
  private tenant: Tenant | null = null;

  private constructor(
    readonly vm: QuickJSContext,
    private readonly runtime: QuickJSRuntime,
    private readonly memory: WebAssembly.Memory,
  ) {
    runtime.setMaxStackSize(256 * 1024);
    runtime.setInterruptHandler(() => {
      if (this.tenant === null) return false;
      const { stopped, deadline } = this.tenant;
      if (stopped.limit === null && cpuMs() > deadline) stopped.limit = 'time';
      return stopped.limit !== null;
    });
    const host = vm.newFunction('print', (text) => {
      const { stopped, request, print } = this.tenant!;
      const length = vm.typeof(text) === 'string' ? vm.getProp(text, 'length').consume((one) => vm.getNumber(one)) : 0;
      if (stopped.limit === null && (length > request.limits.outputBytes || !print(vm.getString(text)))) stopped.limit = 'output';
      return vm.undefined;
    });
    const made = vm.unwrapResult(vm.callFunction(vm.unwrapResult(vm.evalCode(prelude, 'prelude.js', { strict: true })), vm.undefined, host));
    this.helpers = Object.fromEntries(helperNames.map((name) => [name, vm.getProp(made, name)])) as typeof this.helpers;
    for (const kept of [vm.undefined, vm.null, vm.true, vm.false, vm.global]) if (!kept.alive) throw new Error('a value that lives as long as its context does not'); // made now, when they are first asked for
    const bytes = new Uint8Array(memory.buffer);
    let top = bytes.length;
    while (top > 0 && bytes[top - 1] === 0) top--;
    this.fresh = bytes.slice(0, top);
  }

  static async build(memoryMb: number): Promise<Room> {
    const memory = new WebAssembly.Memory({ initial: firstPages, maximum: pagesFor(memoryMb) });
    const module = await newQuickJSWASMModuleFromVariant(newVariant(variant, { wasmModule, wasmMemory: memory }));
    const runtime = module.newRuntime();
    return new Room(runtime.newContext(), runtime, memory);
  }

  /** Lets a program in. */
  enter(tenant: Tenant, stdin: string): void {
    this.tenant = tenant;
    this.runtime.setMemoryLimit(tenant.request.limits.memoryMb * 2 ** 20);
    this.vm.unwrapResult(this.vm.callFunction(this.helpers.setInput, this.vm.undefined, this.vm.newString(stdin)));
  }

  /** As it was before. False when that cannot be: the memory has grown. */
  clear(): boolean {
    if (this.memory.buffer.byteLength !== firstPages * pageBytes) return false;
    const bytes = new Uint8Array(this.memory.buffer);
    bytes.set(this.fresh);
    bytes.fill(0, this.fresh.length);
    this.tenant = null;
    return true;
  }

  private get request(): RunRequest {
    return this.tenant!.request;
  }

  private get stopped(): Stopped {
    return this.tenant!.stopped;
  }

  /** Runs the program's text. What it threw, or null. */
  load(): string | null {
    const { vm } = this;
    const outcome = vm.evalCode(this.request.code, 'program.js');
    if (outcome.error) return this.describe(outcome.error);
    outcome.value.dispose();
    return this.settle();
  }

  /** Promises and timers until nothing is left to do. What a job threw, or null. */
  private settle(): string | null {
    for (;;) {
      const jobs = this.runtime.executePendingJobs();
      if (jobs.error) return this.describe(jobs.error);
      if (this.stopped.limit !== null) return 'stopped';
      const more = this.vm.callFunction(this.helpers.runTimers, this.vm.undefined);
      if (more.error) return this.describe(more.error);
      const again = this.vm.sameValue(more.value, this.vm.true);
      more.value.dispose();
      if (!again && !this.runtime.hasPendingJob()) return null;
    }
  }

  entry(name: string): QuickJSHandle | string {
    const { vm } = this;
    const found = vm.evalCode(`typeof ${name} === 'undefined' ? undefined : ${name}`, 'entry.js');
    const direct = found.error ? vm.undefined : found.value;
    if (found.error) found.error.dispose();
    const chosen = vm.callFunction(this.helpers.entryOf, vm.undefined, direct, vm.newString(name));
    if (chosen.error) return this.describe(chosen.error);
    return vm.typeof(chosen.value) === 'function' ? chosen.value : `${name} is not a function`;
  }

  call(entry: QuickJSHandle, literal: string): CallResult {
    const { vm } = this;
    const args = vm.unwrapResult(vm.evalCode(`(${literal})`, 'arguments.js')); // literals define their parts: no setter of the program runs
    const outcome = vm.callFunction(this.helpers.apply, vm.undefined, entry, vm.undefined, args);
    if (outcome.error) return { error: this.describe(outcome.error) };
    const settled = this.settle();
    if (settled !== null) return { error: settled };
    return this.resultOf(outcome.value, 0);
  }

  private resultOf(value: QuickJSHandle, depth: number): CallResult {
    const { vm } = this;
    if (vm.typeof(value) === 'object') {
      const state = vm.getPromiseState(value);
      if (state.type === 'pending') return { error: 'its promise never settles' };
      if (state.type === 'rejected') return { error: this.describe(state.error) };
      if (!state.notAPromise) return depth > 8 ? { error: 'a promise of a promise' } : this.resultOf(state.value, depth + 1);
    }
    try {
      return { value: encodeHandle(vm, value, this.helpers, this.request.limits.outputBytes) };
    } catch (error) {
      if (!(error instanceof TooLarge)) throw error;
      this.stopped.limit ??= 'output';
      return { error: 'its result is too large' };
    }
  }

  /** What was thrown, in a few words: it may be anything, and reading it may throw again. */
  private describe(error: QuickJSHandle): string {
    const { vm } = this;
    const read = (handle: QuickJSHandle): string => (vm.typeof(handle) === 'string' ? vm.getString(handle).slice(0, 200) : '');
    let text = '';
    try {
      if (vm.typeof(error) === 'string') text = read(error);
      else if (vm.typeof(error) === 'object') text = [vm.getProp(error, 'name'), vm.getProp(error, 'message')].map(read).filter(Boolean).join(': ');
    } catch {
      // a getter or a proxy that throws
    }
    if (this.stopped.limit === null && text === 'InternalError: out of memory') this.stopped.limit = 'memory';
    if (this.stopped.limit === null && text === 'InternalError: stack overflow') this.stopped.limit = 'stack';
    return text || `it threw ${vm.typeof(error)}`;
  }

  get full(): boolean {
    return this.memory.buffer.byteLength >= pagesFor(this.request.limits.memoryMb) * pageBytes;
  }
}

const pagesFor = (megabytes: number) => Math.max(firstPages + 1, Math.ceil(((megabytes + ownMegabytes) * 2 ** 20) / pageBytes));

/** The room of the program before. After a limit, or an error of the engine's, this process ends and nobody enters it again. */
let vacant: { memoryMb: number; room: Room } | undefined;

async function run(request: RunRequest): Promise<RunReply> {
  const stopped = new Stopped();
  const deadline = cpuMs() + request.limits.timeMs;
  const reply: RunReply = { results: [], printed: '' };
  let printedBytes = 0;
  let line = '';
  const print = (text: string): boolean => {
    printedBytes += text.length;
    if (printedBytes > request.limits.outputBytes) return false;
    line += text;
    return true;
  };
  const enter = async (stdin: string): Promise<Room> => {
    const { memoryMb } = request.limits;
    if (vacant?.memoryMb !== memoryMb || !vacant.room.clear()) vacant = { memoryMb, room: await Room.build(memoryMb) };
    vacant.room.enter({ request, stopped, deadline, print }, stdin);
    return vacant.room;
  };
  let room: Room | undefined;
  try {
    if (request.inputs) {
      for (const stdin of request.inputs) {
        line = '';
        room = await enter(stdin); // a program is run anew for each input
        const error = room.load();
        if (stopped.limit !== null) break;
        reply.results.push(error === null ? { value: line as WireValue } : { error });
        reply.printed += line;
      }
    } else {
      room = await enter('');
      const error = room.load();
      if (error !== null) reply.error = error;
      else if (request.entry !== undefined) {
        const entry = room.entry(request.entry);
        if (typeof entry === 'string') reply.error = entry;
        else {
          for (const literal of request.calls ?? []) {
            const result = room.call(entry, literal);
            if (stopped.limit !== null) break;
            reply.results.push(result);
          }
        }
      }
      reply.printed = line;
    }
  } catch (error) {
    // The engine itself gave up: V8's stack is at its end, or memory could not grow.
    stopped.limit ??= error instanceof RangeError && /stack/.test(error.message) ? 'stack' : room?.full ? 'memory' : 'crash';
    reply.error ??= error instanceof Error ? error.message : String(error);
  }
  if (stopped.limit !== null) reply.limit = stopped.limit;
  return reply;
}

serve((request) => run(request as RunRequest));
