import { assertSpecVersion, EspalierError, type Environment, type EnvironmentStep, type Message, type ToolDescription } from '@espalier/spec';
import { checkMessages, checkStep } from './check-environment';
import { Gate } from './gate';
import { withDeadline } from './with-deadline';

/** Makes an environment. It is called once for each episode that runs at the same time as others: one object has one episode at a time. */
export type EnvironmentFactory = () => Environment | Promise<Environment>;

export interface EnvironmentPoolOptions {
  /** Calls of environments under way at once. Default 64. */
  concurrency?: number;
  /** Seconds that one call may take; Infinity: no limit. Default 60. */
  timeout?: number;
}

/** What all environments of a pool have in common. */
export interface EnvironmentFacts {
  name: string;
  tools: readonly ToolDescription[];
}

/**
 * Environments for episodes that run side by side: made when needed, used again after their episode, left behind when a call fails. Every call has a time-out, and what
 * comes back is checked.
 *
 * @example
 * const pool = new EnvironmentPool(() => guessingGame());
 * const { name } = await pool.facts();
 * await pool.close();
 */
export class EnvironmentPool {
  private readonly idle: Environment[] = [];
  private readonly open = new Set<Environment>();
  private readonly gate: Gate;
  private readonly timeoutMs: number;
  private known: Promise<EnvironmentFacts> | null = null;
  private closed = false;

  constructor(
    private readonly factory: EnvironmentFactory,
    options: EnvironmentPoolOptions = {},
  ) {
    const { concurrency = 64, timeout = 60 } = options;
    if (!Number.isInteger(concurrency) || concurrency < 1) throw new EspalierError('bad_config', `the concurrency of environments is ${concurrency}`, { fix: 'a whole number from 1' });
    if (!(timeout > 0)) throw new EspalierError('bad_config', `the time-out of environments is ${timeout}`, { fix: 'seconds above 0' });
    this.gate = new Gate(concurrency);
    this.timeoutMs = timeout * 1000;
  }

  /**
   * Name and tools, from a first environment.
   * @throws what the factory throws; EspalierError `incompatible_plugin`, `bad_config`
   */
  facts(): Promise<EnvironmentFacts> {
    this.known ??= this.take().then((environment) => {
      this.give(environment);
      return { name: environment.name, tools: environment.tools ?? [] };
    });
    this.known.catch(() => (this.known = null)); // may be tried again
    return this.known;
  }

  /** An environment that nobody else has. */
  async take(signal?: AbortSignal): Promise<Environment> {
    if (this.closed) throw new EspalierError('closed', 'the environments are closed');
    const idle = this.idle.pop();
    if (idle) return idle;
    const made = await this.gate.run(() => withDeadline(() => this.factory(), { what: 'making an environment', timeoutMs: this.timeoutMs, signal }));
    if (typeof made !== 'object' || made === null || typeof made.reset !== 'function' || typeof made.step !== 'function') throw new EspalierError('bad_config', 'what the factory of an environment made has no `reset` and `step`', { fix: 'return what defineEnvironment({ … }) returns' });
    assertSpecVersion(made, 'environment');
    this.open.add(made);
    return made;
  }

  /** Gives an environment back, whose episode is over. */
  give(environment: Environment): void {
    if (this.closed) void this.discard(environment);
    else this.idle.push(environment);
  }

  /** Leaves an environment behind that failed: whatever state it is in, no other episode gets it. */
  async discard(environment: Environment): Promise<void> {
    this.open.delete(environment);
    await this.shut(environment);
  }

  async reset(environment: Environment, row: Record<string, unknown>, seed: number, signal?: AbortSignal): Promise<readonly Message[]> {
    const what = `\`reset\` of environment "${environment.name}"`;
    return checkMessages(await this.call(what, (own) => environment.reset(row, seed, { signal: own }), signal), what);
  }

  async step(environment: Environment, reply: Message, signal?: AbortSignal): Promise<EnvironmentStep> {
    const what = `\`step\` of environment "${environment.name}"`;
    return checkStep(await this.call(what, (own) => environment.step(reply, { signal: own }), signal), what);
  }

  /** Closes every environment. One that does not close in time is left. */
  async close(): Promise<void> {
    this.closed = true;
    this.idle.length = 0;
    const all = [...this.open];
    this.open.clear();
    await Promise.all(all.map((environment) => this.shut(environment)));
  }

  private call<T>(what: string, body: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.gate.run(() => withDeadline(body, { what, timeoutMs: this.timeoutMs, signal }));
  }

  private async shut(environment: Environment): Promise<void> {
    // An environment that cannot be closed has done its work all the same.
    await withDeadline(async () => environment.close?.(), { what: 'closing an environment', timeoutMs: Math.min(this.timeoutMs, 5000) }).catch(() => undefined);
  }
}
