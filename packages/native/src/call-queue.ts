import type { NativeBinding } from './binding';

/** Calls that may wait: they give nothing back but what they write into their arrays. */
const mayWait = [
  'adaptedLinears', 'adaptedLinearsGrad', 'addInPlace', 'binary', 'cachedAttention', 'cacheWrite', 'causalAttention', 'causalAttentionGrad', 'columnSums', 'decodeBlocks', 'gatherRows', 'gelu', 'geluGrad',
  'layerNorm', 'layerNormGrad', 'linear', 'linears', 'linearsDx', 'linearsGrad', 'linearUnpacked', 'matmul', 'permute', 'reduceRows', 'rmsNorm', 'rmsNormGrad', 'rotary', 'sampleTokens', 'scatterAddRows',
  'swiglu', 'swigluGrad', 'tokenDivergence', 'tokenDivergenceBackward', 'tokenOutputs', 'tokenOutputsBackward',
] as const satisfies readonly (keyof NativeBinding)[];

/** Calls that look at no array: what waits need not run before them. */
const outOfOrder: readonly string[] = ['allocate', 'allocateZeros', 'allocatedBytes', 'features', 'keptLogits'] satisfies readonly (keyof NativeBinding)[];

/** Those functions: what they write is there after {@link CallQueue.settle}. */
export type WaitingCalls = Pick<NativeBinding, (typeof mayWait)[number]>;

type Call = (...args: readonly unknown[]) => unknown;
type Functions = Record<string, Call>;

/** So many calls wait at most. */
const longest = 256;

/**
 * Lets calls of Rust kernels wait, and runs them one after another. A large kernel empties the processor's caches of whatever JavaScript does between two kernels, which then takes
 * six times as long; of many calls in a row only the first pays for that.
 *
 * Results come in the order of the calls, so that a buffer may be given back, and be taken by a later call, while earlier ones that read it still wait. Whoever looks at numbers calls
 * {@link settle} first.
 */
export class CallQueue {
  /** The functions that may wait, and do inside of {@link together}. */
  readonly later: WaitingCalls;
  /** Every function, each after what waits. */
  readonly now: NativeBinding;
  private waiting: (() => unknown)[] = [];
  private depth = 0;

  constructor(binding: NativeBinding) {
    const functions = binding as unknown as Functions;
    const direct = (name: string): Call => (...args) => functions[name](...args); // looked up at each call: a profiler may have put itself in between
    const ordered = (name: string): Call => (...args) => {
      this.settle();
      return functions[name](...args);
    };
    const waiting = (name: string): Call => (...args) => {
      if (this.depth === 0) return functions[name](...args);
      if (this.waiting.push(() => functions[name](...args)) >= longest) this.settle();
    };
    const names = Object.keys(binding).filter((name) => typeof functions[name] === 'function');
    this.now = Object.fromEntries(names.map((name) => [name, outOfOrder.includes(name) ? direct(name) : ordered(name)])) as unknown as NativeBinding;
    this.later = Object.fromEntries(mayWait.map((name) => [name, waiting(name)])) as unknown as WaitingCalls;
  }

  /**
   * Runs `body`, which does not wait for anything, and lets calls wait meanwhile. When it returns, they have run. Arrays that calls were given must not be written to before that.
   * @throws what a call throws, if not where it was made then from whatever settles
   */
  together<T>(body: () => T): T {
    this.depth++;
    try {
      return body();
    } finally {
      this.depth--;
      if (this.depth === 0) this.settle();
    }
  }

  /** Runs what waits. When a call throws, those after it are dropped. */
  settle(): void {
    if (this.waiting.length === 0) return;
    const calls = this.waiting;
    this.waiting = [];
    for (const call of calls) call();
  }
}
