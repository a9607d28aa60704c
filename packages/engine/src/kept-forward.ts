import type { Decoder, KeptOutputs, LayerOutputs } from '@espalier/models';
import { blockOutputNames, cacheWrite, dispose, embedding, keep, offTape, type BlockOutputs, type Tensor } from '@espalier/tensor';
import type { ComputedRows } from './layout';

/** What a sample of a kept generation is known by. */
interface KeptSample {
  /** Row of its first new token. */
  start: number;
  /** What was sampled so far. */
  tokens: readonly number[];
  /** For so many of them, or more, outputs are kept: not for the last, and where the sample ended before its time, for tokens that nobody will ask for. */
  length: number;
  /** Whether a tape has been given its rows. */
  trained: boolean;
}

interface KeptPrompt {
  tokens: Int32Array;
  start: number;
  /** Whether its rows are there. */
  computed: boolean;
  samples: KeptSample[];
}

/** What a request says about the rows that it needs. */
interface Asked {
  prompt: Int32Array;
  n: number;
  maxNewTokens: number;
}

/** Rows of the tokens of a batch among those that are kept, and the samples that they belong to. */
export interface FoundRows {
  rows: Int32Array; // [T]
  samples: readonly KeptSample[];
}

/**
 * The outputs of every block's layers for the tokens of one generation: what training on these very tokens, with these very weights, would compute again. Whoever changes
 * the weights disposes it.
 *
 * Rows lie as a batch has them where all samples reach their full length: prompts first, then samples.
 */
export class KeptForward {
  private readonly prompts: readonly KeptPrompt[];
  private readonly blocks: BlockOutputs[];
  private readonly capacity: number;
  private givenAway = false;

  private constructor(blocks: BlockOutputs[], prompts: KeptPrompt[], capacity: number) {
    for (const outputs of blocks) for (const name of blockOutputNames) keep(outputs[name]);
    this.blocks = blocks;
    this.prompts = prompts;
    this.capacity = capacity;
  }

  /** Makes room for what these requests ask for; null where that is more than `maxTokens`, or the decoder cannot keep it. */
  static for(decoder: Decoder, requests: readonly Asked[], maxTokens: number): KeptForward | null {
    const fed = ({ maxNewTokens }: Asked) => maxNewTokens - 1; // the last token of a sample goes through the model no more
    const capacity = requests.reduce((sum, request) => sum + request.prompt.length + request.n * fed(request), 0);
    if (capacity === 0 || capacity > maxTokens) return null;
    const blocks = decoder.roomForOutputs(capacity);
    if (!blocks) return null;
    let row = 0;
    const next = (rows: number) => (row += rows) - rows;
    const prompts = requests.map(({ prompt }): KeptPrompt => ({ tokens: prompt, start: next(prompt.length), computed: false, samples: [] }));
    requests.forEach((request, r) => {
      for (let k = 0; k < request.n; k++) prompts[r].samples.push({ start: next(fed(request)), tokens: [], length: 0, trained: false });
    });
    return new KeptForward(blocks, prompts, capacity);
  }

  /** A sample begins, whose tokens will be in this list. */
  begin(request: number, sample: number, tokens: readonly number[]): void {
    this.prompts[request].samples[sample].tokens = tokens;
  }

  /** The row for one more token of a sample. */
  feed(request: number, sample: number): number {
    const one = this.prompts[request].samples[sample];
    return one.start + one.length++;
  }

  /** Where a step leaves its outputs. */
  step(rows: Int32Array): KeptOutputs {
    return { blocks: this.blocks, rows };
  }

  /**
   * Takes over what a pass over prompts computed.
   * @param requests whose prompts these are
   * @param source the computed row of each of their tokens, prompt after prompt
   */
  putPrompts(requests: readonly number[], source: Int32Array): { layers(layer: number, outputs: LayerOutputs): void; attention(layer: number, mixed: Tensor, lse: Tensor): void } {
    const rows = Int32Array.from(requests.flatMap((r) => Array.from(this.prompts[r].tokens, (_, t) => this.prompts[r].start + t)));
    for (const r of requests) this.prompts[r].computed = true;
    const put = (layer: number, outputs: Partial<BlockOutputs>) => {
      for (const name of blockOutputNames) {
        const output = outputs[name];
        if (output) cacheWrite(this.blocks[layer][name], embedding(output, source), rows).dispose(); // in place
      }
    };
    return { layers: put, attention: (layer, mixed, lse) => put(layer, { mixed, lse }) };
  }

  /** Where the tokens of a batch are kept; null unless all of them are. */
  find({ tokens, offsets, prefixOf }: ComputedRows): FoundRows | null {
    if (this.givenAway) return null;
    const rows = new Int32Array(tokens.length);
    const found: KeptSample[] = [];
    const asPrompt = new Map<number, readonly KeptPrompt[]>(); // by sequence
    for (let s = 0; s < prefixOf.length; s++) {
      const own = tokens.subarray(offsets[s], offsets[s + 1]);
      if (prefixOf[s] < 0) {
        const prompts = this.prompts.filter((prompt) => prompt.computed && sameTokens(prompt.tokens, own, own.length) && prompt.tokens.length === own.length);
        if (prompts.length === 0) return null;
        asPrompt.set(s, prompts);
        own.forEach((_, t) => (rows[offsets[s] + t] = prompts[0].start + t));
      } else if (own.length > 0) {
        const alike = asPrompt.get(prefixOf[s])!.flatMap(({ samples }) => samples).filter(({ tokens: kept, length }) => own.length <= length && own.length <= kept.length && sameTokens(kept, own, own.length));
        const sample = alike.find((one) => !found.includes(one)) ?? alike[0];
        if (!sample) return null;
        found.push(sample);
        own.forEach((_, t) => (rows[offsets[s] + t] = sample.start + t));
      }
    }
    return { rows, samples: found };
  }

  /**
   * The outputs of a layer for the tokens that were found, one layer after another.
   * @param forTape a tape takes them over: when all samples have been trained on, what is kept is given back on the way, layer by layer
   */
  known({ rows, samples }: FoundRows, forTape: boolean): (layer: number) => BlockOutputs {
    if (forTape) for (const sample of samples) sample.trained = true;
    const last = (this.givenAway = forTape && this.prompts.every((prompt) => prompt.samples.every(({ trained, length }) => trained || length === 0)));
    const asTheyLie = rows.length === this.capacity && rows.every((row, t) => row === t);
    return (layer) =>
      offTape(() => {
        const outputs = this.blocks[layer];
        const picked = Object.fromEntries(blockOutputNames.map((name) => [name, asTheyLie ? outputs[name].clone() : embedding(outputs[name], rows)])) as unknown as BlockOutputs;
        if (last) dispose(Object.values(outputs) as Tensor[]);
        return picked;
      });
  }

  dispose(): void {
    for (const outputs of this.blocks) dispose((Object.values(outputs) as Tensor[]).filter(({ isDisposed }) => !isDisposed));
  }
}

function sameTokens(a: ArrayLike<number>, b: Int32Array, length: number): boolean {
  for (let t = 0; t < length; t++) if (a[t] !== b[t]) return false;
  return true;
}
