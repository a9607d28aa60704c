import { setImmediate as immediate } from 'node:timers/promises';
import { EspalierError, type Completion, type FinishReason, type GenerateRequest } from '@espalier/spec';
import type { Decoder, Tokenizer } from '@espalier/models';
import { linear, tensor2d, withMatmulPrecision, type Tensor } from '@espalier/tensor';
import type { KeptForward } from '../kept-forward';
import { scoped } from '../scoped';
import { commonLength, SharedPrefixes, shortestShared } from '../shared-prefixes';
import { IncrementalText, findStop } from './incremental-text';
import { KvCache } from './kv-cache';
import { prefillContinued, prefillPrompts, type ContinuedPrompt, type PlacedPrompt } from './prefill';
import { resolveRequest, type ResolvedRequest } from './resolve-request';
import { drawNext, sampleNext } from './sample-next';
import { stepsInARow } from './steps-in-a-row';
import type { TopLogps } from './top-logps';

/** One token of a sample that goes on. */
export interface TokenEvent {
  requestId: string;
  index: number;
  token: number;
  logp: number;
  top?: TopLogps;
}

/** One `generate` call: where its completions go, and how many of its samples are still to come. */
interface Call {
  signal: AbortSignal;
  item(completion: Completion): void;
  progress?(tokens: readonly TokenEvent[]): void;
  resolve(result: null): void;
  reject(error: unknown): void;
  left: number;
}

/** One request: its prompt is cached once, its samples start from it. */
interface Group {
  call: Call;
  request: ResolvedRequest;
  prompt: { start: number; lastHidden: Float32Array } | null; // null until it is in the cache
  admitted: number; // samples that have begun
  live: number; // samples that have begun and not ended
  kept: { forward: KeptForward; request: number } | null; // where what is computed of it goes, for training
}

/** One sample under way. */
export interface Sample {
  group: Group;
  index: number;
  tokens: number[];
  logps: number[];
  tops: TopLogps[]; // empty where none were asked for
  own: number; // first cache row of its new tokens; -1: it never got any
  text: IncrementalText | null; // only where stop strings are looked for
  ended: boolean;
}

/** What was drawn for each sample. */
type Drawn = ReturnType<typeof sampleNext>;

export interface DecodingOptions {
  /** Samples decoded at once. */
  maxBatchSize: number;
  /** Bound on the cache; one sample alone may exceed it. */
  maxCacheBytes: number;
  /** Prompt tokens computed at once. */
  prefillTokens: number;
  /** Linear layers in another precision than the engine's. */
  samplerWeights?: 'int8';
  vocabSize: number;
  maxPositions: number;
  eosTokenIds: readonly number[];
  version(): number;
  /** Keeps what is computed of the tokens, for the training on them that follows. */
  keeping?: {
    /** Null: there is no room for as many, or no way. */
    begin(requests: readonly ResolvedRequest[]): KeptForward | null;
    /** What was begun is not to be used. */
    drop(): void;
  };
}

/** Rows that a sample may fill: its last token is never read by another. */
const ownRows = (request: ResolvedRequest) => request.maxNewTokens - 1;

/**
 * Continuous batching over a KV cache. Requests wait in a queue, first come, first served; a prompt is computed once and shared by its samples, and a
 * beginning that it shares with another under way, or with others that enter with it, is not computed again; a sample that ends leaves the batch at once and the next one enters. Where nobody looks at tokens in between, a few steps are
 * computed in a row; after them the event loop runs, so that aborts are heard.
 */
export class Decoding {
  private queue: Group[] = []; // groups with samples that have not begun
  private active: Sample[] = [];
  private held = new Set<Group>(); // groups whose prompt is in the cache
  private ended: Call[] = []; // calls whose last sample has ended in this step
  private running = false;
  private readonly cache: KvCache;

  constructor(
    private readonly decoder: Decoder,
    private readonly tokenizer: Tokenizer,
    private readonly options: DecodingOptions,
  ) {
    const { numLayers, numKvHeads, headDim } = decoder.config;
    this.cache = new KvCache({ numLayers, width: numKvHeads * headDim, headDim });
  }

  /**
   * Completions go to `item` as they end; when the signal fires, what is under way ends as `aborted`. Each token but the last of a sample goes to `progress`
   * when it is there: the last comes with the completion. `forTraining`: what is computed of the tokens is kept, where nothing else is under way.
   */
  generate(requests: readonly GenerateRequest[], context: { signal: AbortSignal; item(completion: Completion): void; progress?(tokens: readonly TokenEvent[]): void; forTraining?: boolean | undefined }): Promise<null> {
    const resolved = requests.map((request) => resolveRequest(request, this.options));
    return new Promise((resolve, reject) => {
      const call: Call = { ...context, resolve, reject, left: resolved.reduce((sum, { n }) => sum + n, 0) };
      if (call.left === 0) return resolve(null);
      const idle = this.queue.length === 0 && this.active.length === 0;
      const forward = context.forTraining && idle && !this.options.samplerWeights ? this.options.keeping?.begin(resolved) : null;
      resolved.forEach((request, r) => this.queue.push({ call, request, prompt: null, admitted: 0, live: 0, kept: forward ? { forward, request: r } : null }));
      if (!this.running) void this.loop();
    });
  }

  /** Ends everything and frees the cache. */
  dispose(): void {
    this.failAll(new EspalierError('closed', 'the engine was closed while it generated'));
  }

  private async loop(): Promise<void> {
    this.running = true;
    try {
      while (this.queue.length > 0 || this.active.length > 0) {
        this.dropAborted();
        this.inItsPrecision(() => {
          this.decodeStep();
          this.admit();
        });
        if (this.queue.length === 0 && this.active.length === 0) this.cache.clear();
        for (const call of this.ended.splice(0)) call.resolve(null);
        await immediate();
      }
    } catch (error) {
      this.failAll(error);
    } finally {
      this.running = false;
      this.cache.clear();
    }
  }

  private inItsPrecision(body: () => void): void {
    const { samplerWeights } = this.options;
    if (samplerWeights) withMatmulPrecision(samplerWeights, body);
    else body();
  }

  private failAll(error: unknown): void {
    // What is being let in is in neither list, and held.
    const calls = new Set([...this.queue, ...this.held, ...this.active.map(({ group }) => group)].map(({ call }) => call));
    this.queue = [];
    this.active = [];
    this.held.clear();
    this.cache.clear();
    this.options.keeping?.drop(); // a step that failed did not leave what it was to leave
    for (const call of calls) call.reject(error);
    for (const call of this.ended.splice(0)) call.resolve(null);
  }

  private dropAborted(): void {
    for (const sample of this.active.filter(({ group }) => group.call.signal.aborted)) this.finish(sample, 'aborted');
    for (const group of this.queue.filter(({ call }) => call.signal.aborted)) {
      while (group.admitted < group.request.n) this.finish(this.begin(group, -1), 'aborted');
      this.settle(group);
    }
  }

  /** Lets waiting samples in while there are slots and rows, computes the prompts that are new, and samples everyone's first token. */
  private admit(): void {
    const fresh: Sample[] = [];
    const prompts: (PlacedPrompt & { group: Group })[] = [];
    const continued: (ContinuedPrompt & { group: Group })[] = [];
    const shared = new SharedPrefixes();
    let tokens = 0;
    admitting: while (this.queue.length > 0) {
      const group = this.queue[0];
      const { prompt, n } = group.request;
      let start = group.prompt?.start ?? -1;
      const isNew = group.prompt === null;
      const begun = isNew ? this.cachedBeginning(prompt) : null;
      const cost = begun ? prompt.length - begun.length : isNew ? shared.cost(prompt) : 0;
      if (isNew && tokens > 0 && tokens + cost > this.options.prefillTokens) break;
      while (group.admitted < n) {
        if (this.active.length + fresh.length >= this.options.maxBatchSize) break admitting;
        const needed = ownRows(group.request);
        const known = start >= 0;
        if (!known) start = this.reserve(prompt.length);
        const own = start < 0 ? -1 : this.reserve(needed);
        if (own < 0) {
          if (!known && start >= 0) this.cache.release(start, prompt.length);
          break admitting;
        }
        if (!known) {
          if (begun) {
            group.kept = null; // not all of it is computed
            continued.push({ group, prompt, start, ...begun });
          } else {
            prompts.push({ group, prompt, start, kept: group.kept });
            shared.add(prompt);
          }
          this.held.add(group);
          tokens += cost;
        }
        fresh.push(this.begin(group, own));
      }
    }
    const width = this.decoder.config.hiddenSize;
    const keep = (placed: readonly (PlacedPrompt & { group: Group })[], hidden: Float32Array) => placed.forEach(({ group, start }, i) => (group.prompt = { start, lastHidden: hidden.slice(i * width, (i + 1) * width) }));
    if (continued.length > 0) keep(continued, prefillContinued(this.decoder, this.cache, continued));
    if (prompts.length > 0) keep(prompts, prefillPrompts(this.decoder, this.cache, prompts, shared.groups));
    if (fresh.length === 0) return;
    this.active.push(...fresh);
    const last = new Float32Array(fresh.length * width); // [B, D]
    fresh.forEach(({ group }, i) => last.set(group.prompt!.lastHidden, i * width));
    this.take(fresh, scoped(() => sampleNext(this.logits(tensor2d(last, [fresh.length, width])), fresh)));
  }

  /** The longest beginning of a prompt that is in the cache as another's. */
  private cachedBeginning(prompt: Int32Array): { from: number; length: number } | null {
    let best: { from: number; length: number } | null = null;
    for (const group of this.held) {
      if (!group.prompt) continue;
      const length = commonLength(prompt, group.request.prompt, prompt.length - 1);
      if (length >= shortestShared && length > (best?.length ?? 0)) best = { from: group.prompt.start, length };
    }
    return best;
  }

  /** Rows from the cache, which grows up to its bound, or beyond it when nothing else is in it. */
  private reserve(rows: number): number {
    const start = this.cache.allocate(rows);
    if (start >= 0) return start;
    const bound = Math.max(Math.floor(this.options.maxCacheBytes / this.cache.bytesPerRow), this.held.size === 0 ? this.rowsOfOne() : 0);
    const target = Math.min(bound, Math.max(this.cache.capacity + rows, this.rowsOfAll()));
    if (target <= this.cache.capacity) return -1;
    this.cache.grow(target);
    return this.cache.allocate(rows);
  }

  /** What the first waiting sample needs, prompt included. */
  private rowsOfOne(): number {
    const { prompt, maxNewTokens } = this.queue[0].request;
    return prompt.length + maxNewTokens - 1;
  }

  /** What everything that waits or runs would need, as far as it fits into a batch. */
  private rowsOfAll(): number {
    const slots = this.options.maxBatchSize;
    let [rows, samples] = [0, 0];
    for (const group of new Set([...this.held, ...this.queue])) {
      const count = Math.min(group.live + group.request.n - group.admitted, slots - samples);
      if (count <= 0 && !this.held.has(group)) break;
      samples += Math.max(0, count);
      rows += group.request.prompt.length + Math.max(0, count) * ownRows(group.request);
    }
    return rows;
  }

  private begin(group: Group, own: number): Sample {
    const sample: Sample = { group, index: group.admitted++, tokens: [], logps: [], tops: [], own, text: null, ended: false };
    group.live++;
    group.kept?.forward.begin(group.kept.request, sample.index, sample.tokens);
    if (group.request.stop.length > 0) sample.text = new IncrementalText((tokens) => this.tokenizer.decode(tokens, { skipSpecialTokens: true }), sample.tokens);
    if (group.admitted === group.request.n) this.queue = this.queue.filter((other) => other !== group);
    return sample;
  }

  /** One token further for every sample under way, or several. */
  private decodeStep(): void {
    const samples = this.active;
    if (samples.length === 0) return;
    const steps = this.queue.length > 0 ? 1 : stepsInARow(samples); // who waits enters as soon as a sample has ended
    const drawn = scoped((): Drawn[] => {
      let ids: Int32Array = Int32Array.from(samples, ({ tokens }) => tokens[tokens.length - 1]);
      if (steps === 1) return [sampleNext(this.logits(this.hidden(samples, ids, 0)), samples)];
      const draws = Array.from({ length: steps }, (_, ahead) => {
        const logits = this.logits(this.hidden(samples, ids, ahead));
        const draw = drawNext(logits, samples, ahead);
        logits.dispose();
        ids = draw.ids;
        return draw;
      });
      return draws.map((draw) => ({ ...draw.read(), tops: null }));
    });
    for (const each of drawn) this.take(samples, each);
  }

  /** The hidden states `[B, D]` of one more token of each sample, which comes `ahead` tokens after its last. */
  private hidden(samples: readonly Sample[], ids: Int32Array, ahead: number): Tensor {
    const [positions, rows] = [0, 0].map(() => new Int32Array(samples.length));
    const ranges = new Int32Array(4 * samples.length); // [B, 4]
    samples.forEach(({ group, tokens, own }, i) => {
      const { prompt } = group.request;
      const count = tokens.length + ahead;
      positions[i] = prompt.length + count - 1;
      rows[i] = own + count - 1;
      ranges.set([group.prompt!.start, prompt.length, own, count], 4 * i); // of its own rows, the new one included
    });
    const forward = samples.find(({ group }) => group.kept)?.group.kept?.forward;
    const kept = forward?.step(Int32Array.from(samples, ({ group, index }) => (group.kept?.forward === forward ? forward.feed(group.kept!.request, index) : -1)));
    return this.decoder.step(ids, positions, this.cache.step(rows, ranges), kept);
  }

  /** `[B, D]` → `[B, V]`. Disposes what it is given. */
  private logits(hidden: Tensor): Tensor {
    const logits = linear(hidden, this.decoder.lmHead().weight);
    hidden.dispose();
    return logits;
  }

  /** Takes a token of each sample that goes on, and lets those go that have ended with it. */
  private take(all: readonly Sample[], { tokens, logps, tops }: Drawn): void {
    const samples = all.filter(({ ended }) => !ended);
    all.forEach((sample, i) => {
      if (sample.ended) return;
      sample.tokens.push(tokens[i]);
      sample.logps.push(logps[i]);
      if (tops?.[i]) sample.tops.push(tops[i]);
    });
    const told = new Map<Call, TokenEvent[]>();
    for (const sample of samples) {
      const { call, request } = sample.group;
      const reason = this.ending(sample);
      if (reason) this.finish(sample, reason);
      else if (call.progress) {
        const event: TokenEvent = { requestId: request.id, index: sample.index, token: sample.tokens.at(-1)!, logp: sample.logps.at(-1)!, ...(request.topLogps > 0 && { top: sample.tops.at(-1)! }) };
        const events = told.get(call);
        if (events) events.push(event);
        else told.set(call, [event]);
      }
    }
    for (const [call, events] of told) call.progress!(events);
  }

  private ending(sample: Sample): FinishReason | null {
    const { request } = sample.group;
    const count = sample.tokens.length;
    if (request.stopTokens.has(sample.tokens[count - 1])) return 'stop';
    if (sample.text) {
      const seen = sample.text.text.length;
      if (findStop(sample.text.update(), request.stop, seen) >= 0 && count >= request.minNewTokens) return 'stop';
    }
    return count >= request.maxNewTokens ? 'length' : null;
  }

  private finish(sample: Sample, finishReason: FinishReason): void {
    const { group } = sample;
    const { call, request } = group;
    sample.ended = true;
    this.active = this.active.filter((other) => other !== sample);
    if (sample.own >= 0) this.cache.release(sample.own, ownRows(request));
    group.live--;
    const tokens = Int32Array.from(sample.tokens);
    const completion: Completion = { requestId: request.id, index: sample.index, tokens, logps: Float32Array.from(sample.logps), text: this.textOf(sample, finishReason), finishReason, version: this.options.version() };
    if (request.topLogps > 0) completion.topLogps = { tokens: Int32Array.from(sample.tops.flatMap(({ tokens }) => [...tokens])), logps: Float32Array.from(sample.tops.flatMap(({ logps }) => [...logps])) };
    call.left--;
    this.settle(group);
    call.item(completion);
    if (call.left === 0) this.ended.push(call);
  }

  /** A group that is done gives its prompt's rows back. */
  private settle(group: Group): void {
    if (group.live > 0 || group.admitted < group.request.n || !group.prompt) return;
    this.cache.release(group.prompt.start, group.request.prompt.length);
    this.held.delete(group);
    group.prompt = null;
  }

  private textOf(sample: Sample, reason: FinishReason): string {
    const { stopTokens, stop } = sample.group.request;
    const ended = reason === 'stop' && stopTokens.has(sample.tokens.at(-1)!);
    const text = this.tokenizer.decode(Int32Array.from(ended ? sample.tokens.slice(0, -1) : sample.tokens), { skipSpecialTokens: true });
    const cut = reason === 'stop' ? findStop(text, stop) : -1;
    return cut >= 0 ? text.slice(0, cut) : text;
  }
}
