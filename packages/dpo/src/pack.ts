import { EspalierError, type TokenBatch } from '@espalier/spec';
import type { PreferenceExample, UnpairedExample } from './rows';

/** A ragged batch under construction. */
class Packing {
  readonly tokens: number[] = [];
  readonly offsets = [0];
  readonly prefixOf: number[] = [];
  readonly actionIndex: number[] = [];

  /** Adds a sequence; its tokens from `actionsFrom` on are actions, but for one that nothing precedes. Returns its number. */
  add(tokens: Int32Array, options: { prefix?: number; actionsFrom?: number } = {}): number {
    const { prefix = -1, actionsFrom = 0 } = options;
    const start = this.tokens.length;
    for (let t = 0; t < tokens.length; t++) {
      if (t >= actionsFrom && (t > 0 || prefix >= 0)) this.actionIndex.push(start + t);
      this.tokens.push(tokens[t]);
    }
    this.offsets.push(this.tokens.length);
    this.prefixOf.push(prefix);
    return this.prefixOf.length - 1;
  }

  /** Adds a completion of a prompt: one that was added as a sequence, or none. */
  completion(prompt: Int32Array, shared: number, completion: Int32Array): number {
    return shared >= 0 ? this.add(completion, { prefix: shared }) : this.add(Int32Array.from([...prompt, ...completion]), { actionsFrom: prompt.length });
  }

  batch(more: Partial<TokenBatch> & Pick<TokenBatch, 'normalizer'>): TokenBatch {
    return { tokens: Int32Array.from(this.tokens), offsets: Int32Array.from(this.offsets), prefixOf: Int32Array.from(this.prefixOf), actionIndex: Int32Array.from(this.actionIndex), columns: {}, ...more };
  }
}

/**
 * Pairs as one ragged batch, nothing padded: a pair's prompt is one sequence, stored and computed once, and both completions continue it. Every token of
 * a completion is an action.
 *
 * `normalizer.sequences` counts completions, two a pair; `normalizer.tokens` the tokens that a language-model loss on what was chosen is a mean over.
 *
 * @param options.promptActions the prompt's tokens are actions as well (ORPO)
 * @throws EspalierError `bad_data` for no pairs
 */
export function packPreferences(examples: readonly PreferenceExample[], options: { promptActions?: boolean } = {}): TokenBatch {
  if (examples.length === 0) throw new EspalierError('bad_data', 'a batch of no pairs has nothing to train on', { fix: 'at least one pair whose prompt is shorter than `max_length`' });
  const packing = new Packing();
  const pairs: number[] = [];
  const refLogps: Float32Array[] = [];
  const softLabels: number[] = []; // one an action
  let tokens = 0;
  for (const { prompt, chosen, rejected, rejectedPrompt, refLogps: reference, softLabel } of examples) {
    const shared = prompt.length > 0 && !rejectedPrompt ? packing.add(prompt, { actionsFrom: options.promptActions ? 1 : prompt.length }) : -1;
    const before = packing.actionIndex.length;
    pairs.push(packing.completion(prompt, shared, chosen));
    tokens += packing.actionIndex.length - before + (options.promptActions ? Math.max(prompt.length - 1, 0) : 0);
    pairs.push(packing.completion(rejectedPrompt ?? prompt, shared, rejected));
    if (reference) refLogps.push(reference.chosen, reference.rejected);
    while (softLabels.length < packing.actionIndex.length) softLabels.push(softLabel ?? 1);
  }
  return packing.batch({
    pairs: Int32Array.from(pairs),
    columns: { ...(refLogps.length === pairs.length ? { refLogps: concatenated(refLogps) } : {}), ...(examples.some(({ softLabel }) => softLabel !== undefined) ? { softLabels: Float32Array.from(softLabels) } : {}) },
    normalizer: { tokens, sequences: pairs.length },
  });
}

/** Labelled completions as one ragged batch; column `labels` is 1 at the actions of a desirable one. */
export function packUnpaired(examples: readonly UnpairedExample[]): TokenBatch {
  if (examples.length === 0) throw new EspalierError('bad_data', 'a batch of no completions has nothing to train on', { fix: 'at least one row whose prompt is shorter than `max_length`' });
  const packing = new Packing();
  const labels: number[] = [];
  for (const { prompt, completion, label } of examples) {
    packing.completion(prompt, -1, completion);
    while (labels.length < packing.actionIndex.length) labels.push(Number(label));
  }
  const known = examples.every(({ refLogps }) => refLogps);
  return packing.batch({
    columns: { labels: Float32Array.from(labels), ...(known ? { refLogps: concatenated(examples.map(({ refLogps }) => refLogps!)) } : {}) },
    normalizer: { tokens: labels.length, sequences: examples.length },
  });
}

/**
 * Each example's prompt with the completion of another, and with its own where `own` asks for it; a prompt is computed once.
 * @returns the batch, and for each example which actions are whose: `own[i]` and `kl[i]` are ranges of actions
 */
export function packKl(examples: readonly UnpairedExample[], options: { own: boolean; maxLength: number | null }): { batch: TokenBatch; own: [number, number][]; kl: [number, number][] } {
  const packing = new Packing();
  const own: [number, number][] = [];
  const kl: [number, number][] = [];
  const add = (prompt: Int32Array, shared: number, completion: Int32Array): [number, number] => {
    const start = packing.actionIndex.length;
    packing.completion(prompt, shared, completion);
    return [start, packing.actionIndex.length];
  };
  for (const { prompt, completion, klCompletion } of examples) {
    const shared = prompt.length > 0 ? packing.add(prompt, { actionsFrom: prompt.length }) : -1;
    if (options.own) own.push(add(prompt, shared, completion));
    const room = options.maxLength === null ? undefined : Math.max(options.maxLength - prompt.length, 0);
    kl.push(add(prompt, shared, klCompletion!.slice(0, room)));
  }
  return { batch: packing.batch({ normalizer: { tokens: packing.actionIndex.length, sequences: examples.length } }), own, kl };
}

export function concatenated(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
