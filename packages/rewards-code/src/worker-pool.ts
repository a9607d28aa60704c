import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { EspalierError } from '@espalier/spec';

/** How a request ended: with a reply, or with the end of its worker. */
export type Outcome<Reply> = { reply: Reply } | { ended: 'time' | 'crash' | 'memory' };

export interface PoolOptions {
  start(): Promise<ChildProcess>;
  /** Most workers at a time. */
  size: number;
  /** Requests after which a worker is replaced. Default 1,000. */
  maxRequests?: number;
  /** Milliseconds after which an idle worker is ended. Default 30,000. */
  idleMs?: number;
  /** Milliseconds that a worker may take to start. Default 120,000. */
  startMs?: number;
}

export interface RequestOptions {
  /** Milliseconds after which the worker is killed, on a machine that does nothing else. On a busy one it may take up to ten times as long while it has not had `cpuMs` of a processor. */
  wallMs: number;
  /** Milliseconds of processor time, where the system tells (Linux). Default: half of `wallMs`. */
  cpuMs?: number;
  signal?: AbortSignal | undefined;
}

interface Task {
  request: unknown;
  options: RequestOptions;
  resolve(outcome: Outcome<unknown>): void;
  reject(error: unknown): void;
}

interface Worker {
  child: ChildProcess;
  served: number;
  task: Task | null;
  timer: NodeJS.Timeout | undefined;
  stderr: string;
  ready: boolean;
}

const everyChild = new Set<ChildProcess>();
let watching = false;
/** Workers end with their owner. (When the owner is killed, they see their channel close.) */
function endWithOwner(child: ChildProcess): void {
  everyChild.add(child);
  child.once('exit', () => everyChild.delete(child));
  if (watching) return;
  watching = true;
  process.on('exit', () => everyChild.forEach((one) => one.kill('SIGKILL')));
}

/**
 * Worker processes that answer one request at a time each. A worker that is over its time, that hit a limit or that died is replaced, and the others never notice.
 * Idle workers don't keep the program alive.
 */
export class WorkerPool {
  private readonly waiting: Task[] = [];
  private readonly workers = new Set<Worker>();
  private readonly starts = new Set<Promise<void>>();
  /** One listener for each signal, however many requests come with it. */
  private readonly heard = new Map<AbortSignal, { tasks: Set<Task>; onAbort: () => void }>();
  private failures = 0;
  private closed = false;
  /** Workers that were started, all together. */
  started = 0;

  constructor(private readonly options: PoolOptions) {}

  /** Workers that are there now. */
  get alive(): number {
    return this.workers.size;
  }

  /**
   * Sends one request and waits for what comes of it. A reply with a `limit` ends its worker.
   * @throws EspalierError `aborted`, `closed`, or `internal` when workers cannot be started
   */
  run<Reply>(request: unknown, options: RequestOptions): Promise<Outcome<Reply>> {
    if (this.closed) return Promise.reject(new EspalierError('closed', 'the sandbox is closed'));
    if (options.signal?.aborted) return Promise.reject(aborted(options.signal));
    return new Promise((resolve, reject) => {
      const task: Task = { request, options, resolve: resolve as Task['resolve'], reject };
      if (options.signal) this.listen(options.signal, task);
      this.waiting.push(task);
      this.dispatch();
    });
  }

  /** Ends all workers; what waits is refused. */
  async close(): Promise<void> {
    this.closed = true;
    const error = new EspalierError('closed', 'the sandbox is closed');
    for (const task of this.waiting.splice(0)) this.finish(task, () => task.reject(error));
    await Promise.all(this.starts);
    await Promise.all([...this.workers].map((worker) => this.end(worker, (task) => task.reject(error))));
  }

  private dispatch(): void {
    for (const worker of this.workers) {
      if (this.waiting.length === 0) return;
      if (worker.ready && worker.task === null) this.give(worker, this.waiting.shift()!);
    }
    const coming = () => this.starts.size + [...this.workers].filter((worker) => !worker.ready).length;
    while (!this.closed && coming() < this.waiting.length && this.workers.size + this.starts.size < this.options.size) {
      const start = this.startWorker();
      this.starts.add(start);
      void start.finally(() => this.starts.delete(start)).then(() => this.dispatch());
    }
  }

  private async startWorker(): Promise<void> {
    let child: ChildProcess;
    try {
      child = await this.options.start();
    } catch (error) {
      for (const task of this.waiting.splice(0)) this.finish(task, () => task.reject(error));
      return;
    }
    this.started += 1;
    const worker: Worker = { child, served: 0, task: null, timer: undefined, stderr: '', ready: false };
    this.workers.add(worker);
    endWithOwner(child);
    const late = setTimeout(() => child.kill('SIGKILL'), this.options.startMs ?? 120_000);
    child.stderr!.on('data', (chunk: Buffer) => (worker.stderr = (worker.stderr + chunk.toString()).slice(-2000)));
    (child.stderr as unknown as { unref?(): void }).unref?.(); // a process keeps its owner alive while it has work; what it might print does not
    child.on('error', (error) => (worker.stderr += error.message));
    child.on('message', (message) => {
      if (worker.ready) this.answered(worker, message);
      else {
        clearTimeout(late);
        worker.ready = true;
        this.failures = 0;
        this.rest(worker);
        this.dispatch();
      }
    });
    child.once('close', (code, signal) => {
      clearTimeout(late);
      this.gone(worker, code, signal);
    });
  }

  private give(worker: Worker, task: Task): void {
    clearTimeout(worker.timer);
    worker.task = task;
    worker.served += 1;
    worker.child.ref();
    worker.child.channel?.ref();
    this.watch(worker, task);
    worker.child.send(task.request as object, (error) => error && void this.end(worker, () => task.resolve({ ended: 'crash' })));
  }

  /** Kills the worker when its time is over. On a busy machine a worker may have waited all that time: it is then given more. */
  private watch(worker: Worker, task: Task): void {
    const { wallMs, cpuMs = wallMs / 2 } = task.options;
    const pid = worker.child.pid ?? 0;
    const before = processorMs(pid);
    const latest = performance.now() + 10 * wallMs;
    const look = () => {
      const now = processorMs(pid);
      if (before !== null && now !== null && now - before < cpuMs && performance.now() < latest) worker.timer = setTimeout(look, 100);
      else void this.end(worker, () => task.resolve({ ended: 'time' }));
    };
    worker.timer = setTimeout(look, wallMs);
  }

  private answered(worker: Worker, reply: unknown): void {
    const { task } = worker;
    if (!task) return;
    worker.task = null;
    const limited = typeof reply === 'object' && reply !== null && (reply as { limit?: unknown }).limit !== undefined;
    if (limited || worker.served >= (this.options.maxRequests ?? 1000)) void this.end(worker);
    else this.rest(worker);
    this.finish(task, () => task.resolve({ reply }));
    this.dispatch();
  }

  /** Nothing to do: it does not keep the program alive, and is ended after a while. */
  private rest(worker: Worker): void {
    clearTimeout(worker.timer);
    worker.child.unref();
    worker.child.channel?.unref();
    worker.timer = setTimeout(() => void this.end(worker), this.options.idleMs ?? 30_000);
    worker.timer.unref();
  }

  /** Kills it. Its task, if it has one, is settled by `settle`. */
  private end(worker: Worker, settle?: (task: Task) => void): Promise<void> {
    clearTimeout(worker.timer);
    const { task } = worker;
    worker.task = null;
    worker.ready = false;
    this.workers.delete(worker);
    const exited = worker.child.exitCode !== null || worker.child.signalCode !== null ? Promise.resolve() : new Promise<void>((resolve) => worker.child.once('exit', () => resolve()));
    worker.child.ref(); // its end is waited for
    worker.child.kill('SIGKILL');
    if (task && settle) this.finish(task, () => settle(task));
    this.dispatch();
    return exited;
  }

  /** It died by itself, or was killed from outside. */
  private gone(worker: Worker, code: number | null, signal: NodeJS.Signals | null): void {
    if (!this.workers.delete(worker)) return;
    clearTimeout(worker.timer);
    const { task } = worker;
    // V8 aborts a process whose heap is full.
    if (task) this.finish(task, () => task.resolve({ ended: signal === 'SIGABRT' || code === 134 || /heap/i.test(worker.stderr) ? 'memory' : 'crash' }));
    else if (!worker.ready && ++this.failures >= 3) {
      const error = new EspalierError('internal', `sandbox processes end before they are ready: ${worker.stderr.trim().split('\n').slice(0, 4).join(' ') || `status ${code ?? signal}`}`);
      this.failures = 0;
      for (const one of this.waiting.splice(0)) this.finish(one, () => one.reject(error));
    }
    this.dispatch();
  }

  private listen(signal: AbortSignal, task: Task): void {
    const heard = this.heard.get(signal);
    if (heard) return void heard.tasks.add(task);
    const tasks = new Set([task]);
    const onAbort = () => {
      for (const one of tasks) this.abort(one);
    };
    this.heard.set(signal, { tasks, onAbort });
    signal.addEventListener('abort', onAbort, { once: true });
  }

  private abort(task: Task): void {
    const at = this.waiting.indexOf(task);
    if (at >= 0) {
      this.waiting.splice(at, 1);
      this.finish(task, () => task.reject(aborted(task.options.signal)));
      return;
    }
    for (const worker of this.workers) if (worker.task === task) void this.end(worker, () => task.reject(aborted(task.options.signal)));
  }

  private finish(task: Task, settle: () => void): void {
    const { signal } = task.options;
    const heard = signal && this.heard.get(signal);
    if (heard?.tasks.delete(task) && heard.tasks.size === 0) {
      this.heard.delete(signal!);
      signal!.removeEventListener('abort', heard.onAbort);
    }
    settle();
  }
}

/** Milliseconds of processor time that a process has had, in steps of 10; null where the system does not tell. */
function processorMs(pid: number): number | null {
  if (process.platform !== 'linux') return null;
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1].split(' ');
    return (Number(fields[11]) + Number(fields[12])) * 10;
  } catch {
    return null;
  }
}

const aborted = (signal: AbortSignal | undefined) => new EspalierError('aborted', 'the operation was aborted', { cause: signal?.reason });
