import { attentionOptions, type Attend, type Decoder } from '@espalier/models';
import { cachedAttention, causalAttentionOutputs, embedding, reshape } from '@espalier/tensor';
import type { KeptForward } from '../kept-forward';
import { scoped } from '../scoped';
import type { SharedPrefix } from '../shared-prefixes';
import type { KvCache } from './kv-cache';
import { packPrompts } from './pack-prompts';

/** A prompt and the first of its rows in the cache. */
export interface PlacedPrompt {
  prompt: Int32Array;
  start: number;
  /** Where training will look for what is computed of it, and as which request's. */
  kept?: { forward: KeptForward; request: number } | null;
}

/** A prompt whose first `length` tokens are in the cache already, as another's: from row `from`. */
export interface ContinuedPrompt extends PlacedPrompt {
  from: number;
  length: number;
}

/**
 * Computes prompts in one packed pass, what they share once; their keys and values go to the cache.
 * @returns the last hidden state of each, `[G, D]`
 */
export function prefillPrompts(decoder: Decoder, cache: KvCache, prompts: readonly PlacedPrompt[], groups: readonly SharedPrefix[]): Float32Array {
  const { tokens, positions, offsets, prefixOf, rows, source, last } = packPrompts(prompts, groups);
  return scoped(() => {
    const kept = keeping(prompts, source);
    const attend: Attend = (layer, q, k, v) => {
      const [keys, values] = source ? [k, v].map((each) => embedding(reshape(each, [tokens.length, -1]), source)) : [k, v];
      cache.write(layer, keys, values, rows);
      const { o, lse } = causalAttentionOutputs(q, k, v, { offsets, prefixOf }, attentionOptions(decoder.config, layer));
      kept?.attention(layer, reshape(o, [tokens.length, -1]), lse);
      return o;
    };
    return Float32Array.from(embedding(decoder.hidden(tokens, positions, attend, { computed: kept?.layers }), last).dataSync());
  });
}

/** Who takes over what is computed of the prompts that training will look for. `source`: the computed token of each token of each prompt; null, the one at the same place. */
function keeping(prompts: readonly PlacedPrompt[], source: Int32Array | null): ReturnType<KeptForward['putPrompts']> | undefined {
  const forward = prompts.find(({ kept }) => kept)?.kept?.forward;
  if (!forward) return undefined;
  const computed: number[] = [];
  const requests: number[] = [];
  let first = 0;
  for (const { prompt, kept } of prompts) {
    if (kept?.forward === forward) {
      requests.push(kept.request);
      for (let t = 0; t < prompt.length; t++) computed.push(source ? source[first + t] : first + t);
    }
    first += prompt.length;
  }
  return forward.putPrompts(requests, Int32Array.from(computed));
}

/**
 * Computes what is left of prompts that begin like one in the cache: its rows are copied, and each new token attends to them as a token of a sample does.
 * @returns the last hidden state of each, `[G, D]`
 */
export function prefillContinued(decoder: Decoder, cache: KvCache, prompts: readonly ContinuedPrompt[]): Float32Array {
  const tokens = Int32Array.from(prompts.flatMap(({ prompt, length }) => [...prompt.subarray(length)])); // [T]
  const positions = Int32Array.from(prompts.flatMap(({ prompt, length }) => Array.from(prompt.subarray(length), (_, t) => length + t)));
  const rows = Int32Array.from(prompts.flatMap(({ prompt, start, length }) => Array.from(prompt.subarray(length), (_, t) => start + length + t)));
  const ranges = Int32Array.from(prompts.flatMap(({ prompt, start, length }) => Array.from(prompt.subarray(length), (_, t) => [start, length, start + length, t + 1]).flat())); // [4 T]
  const copied = (first: (prompt: ContinuedPrompt) => number) => Int32Array.from(prompts.flatMap((prompt) => Array.from({ length: prompt.length }, (_, t) => first(prompt) + t)));
  let end = 0;
  const last = prompts.map(({ prompt, length }) => (end += prompt.length - length) - 1);
  cache.copy(copied(({ from }) => from), copied(({ start }) => start));
  return scoped(() => {
    const attend: Attend = (layer, q, k, v) => {
      cache.write(layer, k, v, rows);
      const cached = cache.layer(layer);
      return cachedAttention(q, cached.k, cached.v, ranges, attentionOptions(decoder.config, layer));
    };
    return Float32Array.from(embedding(decoder.hidden(tokens, positions, attend), Int32Array.from(last)).dataSync());
  });
}
