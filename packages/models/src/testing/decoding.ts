import { cachedAttention, cacheWrite, causalAttention, gather, keep, linear, tensor1d, tidy, tokenOutputs, zeros, type SequenceLayout, type Tensor } from '@espalier/tensor';
import { attendCausally, attentionOptions, type Attend, type Decoder } from '../decoder';

/** Sequences one after another; `prefixOf[i]` is the sequence that `i` continues, or -1. */
export interface Packed {
  tokens: Int32Array;
  positions: Int32Array;
  layout: SequenceLayout;
}

/**
 * Sequences as one packed batch. Default: no prefixes.
 * @example
 * packSequences([[1, 2, 3], [4, 5], [6]], [-1, 0, 0]); // two continuations of a shared prompt
 */
export function packSequences(sequences: readonly (readonly number[])[], prefixOf: readonly number[] = sequences.map(() => -1)): Packed {
  const offsets = new Int32Array(sequences.length + 1);
  sequences.forEach((sequence, s) => (offsets[s + 1] = offsets[s] + sequence.length));
  return {
    tokens: Int32Array.from(sequences.flat()),
    positions: Int32Array.from(sequences.flatMap((sequence, s) => sequence.map((_, t) => t + (prefixOf[s] >= 0 ? sequences[prefixOf[s]].length : 0)))),
    layout: { offsets, prefixOf: Int32Array.from(prefixOf) },
  };
}

const rowsOf = (values: Float32Array, width: number) => Array.from({ length: values.length / width }, (_, t) => values.slice(t * width, (t + 1) * width));
const head = (decoder: Decoder, hidden: Tensor) => linear(hidden, decoder.lmHead().weight);

/**
 * The logits of each token, sequence by sequence.
 * @example
 * const [[first]] = logitsOf(decoder, packSequences([[1, 2, 3]])); // [V]
 */
export function logitsOf(decoder: Decoder, { tokens, positions, layout }: Packed): Float32Array[][] {
  const all = tidy(() => head(decoder, decoder.hidden(tokens, positions, attendCausally(decoder.config, layout))));
  const rows = rowsOf(Float32Array.from(all.dataSync()), decoder.config.vocabSize);
  all.dispose();
  return Array.from(layout.prefixOf, (_, s) => rows.slice(layout.offsets[s], layout.offsets[s + 1]));
}

/**
 * Log-probs `[A]` of every token that something precedes, as a tensor that can be recorded.
 * @example
 * const tape = record(() => [logpsOf(decoder, batch)]);
 */
export function logpsOf(decoder: Decoder, { tokens, positions, layout }: Packed): Tensor {
  const actions = Array.from(tokens.keys()).filter((t) => !layout.offsets.includes(t));
  const hidden = decoder.hidden(tokens, positions, attendCausally(decoder.config, layout));
  return tokenOutputs(gather(hidden, tensor1d(actions.map((t) => t - 1), 'int32')), decoder.lmHead().weight, Int32Array.from(actions, (t) => tokens[t])).logps;
}

/**
 * The logits of each token of `tails`, decoded as the engine does: the prompt is computed once and put into a cache, then one token of every tail a step, each seeing
 * the prompt's rows and its own.
 * @example
 * cachedLogits(decoder, [1, 2], [[3, 4], [5]]);
 */
export function cachedLogits(decoder: Decoder, prompt: readonly number[], tails: readonly (readonly number[])[]): Float32Array[][] {
  const { config } = decoder;
  const longest = Math.max(...tails.map((tail) => tail.length));
  const capacity = prompt.length + tails.length * longest;
  const cache = Array.from({ length: 2 * config.numLayers }, () => keep(zeros([capacity, config.numKvHeads * config.headDim])));
  const write = (i: number, values: Tensor, rows: Int32Array) => {
    const old = cache[i];
    cache[i] = keep(cacheWrite(old, values, rows));
    if (cache[i] !== old) old.dispose();
  };
  const store = (layer: number, k: Tensor, v: Tensor, rows: Int32Array) => {
    write(2 * layer, k, rows);
    write(2 * layer + 1, v, rows);
  };
  const start = packSequences([prompt]);
  const prefill: Attend = (layer, q, k, v) => {
    store(layer, k, v, start.positions);
    return causalAttention(q, k, v, start.layout, attentionOptions(config, layer));
  };
  tidy(() => void decoder.hidden(start.tokens, start.positions, prefill));
  const logits = tails.map((): Float32Array[] => []);
  for (let t = 0; t < longest; t++) {
    const live = tails.flatMap((tail, i) => (t < tail.length ? [i] : []));
    const own = (i: number) => prompt.length + i * longest;
    const rows = Int32Array.from(live, (i) => own(i) + t);
    const ranges = Int32Array.from(live.flatMap((i) => [0, prompt.length, own(i), t + 1]));
    const decode: Attend = (layer, q, k, v) => {
      store(layer, k, v, rows);
      return cachedAttention(q, cache[2 * layer], cache[2 * layer + 1], ranges, attentionOptions(config, layer));
    };
    const out = tidy(() => head(decoder, decoder.hidden(Int32Array.from(live, (i) => tails[i][t]), new Int32Array(live.length).fill(prompt.length + t), decode)));
    rowsOf(Float32Array.from(out.dataSync()), config.vocabSize).forEach((row, j) => logits[live[j]].push(row));
    out.dispose();
  }
  for (const used of cache) used.dispose();
  return logits;
}
