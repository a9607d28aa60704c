import { EspalierSampleTokens, nativeBackend } from '@espalier/native';
import type { SampleTokensAttrs, SampleTokensInputs } from '@espalier/native';
import { EspalierError } from '@espalier/spec';
import { engine, tensor1d } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { check, dims, portableKernel, run } from './kernel';
import { sampleRow } from './sample-row';

/** How one row of logits is sampled. */
export interface SampleRow {
  /** An integer of at most 53 bits. The draw is a function of (seed, sample, position) and the row's logits alone, whatever it is batched with. */
  seed: number;
  /** Which sample of the request. */
  sample: number;
  /** Which token of the sample. */
  position: number;
  /** 0 is greedy. Default 1. */
  temperature?: number;
  /** 0: off. Default 0. */
  topK?: number;
  /** 1: off. Default 1. */
  topP?: number;
  /** 0: off. Default 0. */
  minP?: number;
  /** Default 1. */
  repetitionPenalty?: number;
  /** Ids that the penalty looks at. */
  history?: Int32Array;
}

/**
 * Samples one token a row; the same tokens on every backend, given the same logits (the algorithm: `sample-row.ts`).
 * @param logits `[B, V]`
 * @param rows `[B]`
 * @returns token ids, and their log-probs (nats) under the temperature, without penalty and filters; greedy rows: under temperature 1
 * @throws EspalierError `bad_config` for a setting out of its range, `internal` when a row holds NaN or nothing finite
 */
export function sampleTokens(logits: Tensor, rows: readonly SampleRow[]): { tokens: Int32Array; logps: Float32Array } {
  return drawTokens(logits, rows).read();
}

/** Tokens that are drawn when somebody reads them. */
export interface TokenDraw {
  /** What `embedding` may be given before: inside of `together` on `native` the ids are still to come, elsewhere they are there. */
  readonly ids: Int32Array;
  /** What {@link sampleTokens} gives. To be called once, in the scope in which they were drawn. */
  read(): { tokens: Int32Array; logps: Float32Array };
}

/** {@link sampleTokens} without looking at what is drawn: so several steps of decoding can be put in a row, each of which takes the ids of the one before. */
export function drawTokens(logits: Tensor, rows: readonly SampleRow[]): TokenDraw {
  check(logits.rank === 2 && logits.shape[0] === rows.length, 'sampleTokens', () => `logits [${logits.shape}] do not fit ${rows.length} rows`);
  const [tokens, logps] = run<Tensor[]>(EspalierSampleTokens, { logits }, packed(rows, dims(logits)[1]));
  const native = engine().backendName === 'native' ? nativeBackend() : null;
  return {
    ids: native ? native.ints(tokens) : tokens.dataSync<'int32'>(),
    read: () => {
      // Copies: a backend may hand out its own buffer, and use it again.
      const result = { tokens: Int32Array.from(tokens.dataSync()), logps: Float32Array.from(logps.dataSync()) };
      tokens.dispose();
      logps.dispose();
      return result;
    },
  };
}

function packed(rows: readonly SampleRow[], vocabSize: number): SampleTokensAttrs {
  const n = rows.length;
  const attrs = {
    seeds: new Uint32Array(2 * n),
    samples: new Uint32Array(n),
    positions: new Uint32Array(n),
    temperature: new Float64Array(n),
    topK: new Int32Array(n),
    topP: new Float64Array(n),
    minP: new Float64Array(n),
    repetitionPenalty: new Float64Array(n),
    historyOffsets: new Int32Array(n + 1),
  };
  rows.forEach((row, b) => {
    validate(row, vocabSize);
    attrs.seeds[2 * b] = row.seed >>> 0;
    attrs.seeds[2 * b + 1] = Math.floor(row.seed / 2 ** 32) >>> 0;
    attrs.samples[b] = row.sample;
    attrs.positions[b] = row.position;
    attrs.temperature[b] = row.temperature ?? 1;
    attrs.topK[b] = row.topK ?? 0;
    attrs.topP[b] = row.topP ?? 1;
    attrs.minP[b] = row.minP ?? 0;
    attrs.repetitionPenalty[b] = row.repetitionPenalty ?? 1;
    attrs.historyOffsets[b + 1] = attrs.historyOffsets[b] + (row.history?.length ?? 0);
  });
  const history = new Int32Array(attrs.historyOffsets[n]);
  rows.forEach((row, b) => row.history && history.set(row.history, attrs.historyOffsets[b]));
  return { ...attrs, history };
}

function validate({ seed, temperature = 1, topK = 0, topP = 1, minP = 0, repetitionPenalty = 1, history }: SampleRow, vocabSize: number): void {
  const fail = (name: string, value: number, fix: string) => {
    throw new EspalierError('bad_config', `\`${name}\` is ${value}`, { fix });
  };
  if (!Number.isSafeInteger(seed)) fail('seed', seed, 'an integer of at most 53 bits');
  if (!(temperature >= 0) || (temperature > 0 && temperature < 1e-6) || temperature === Infinity) fail('temperature', temperature, '0 for greedy, or a number of at least 1e-6');
  if (!Number.isInteger(topK) || topK < 0) fail('topK', topK, '0 for off, or a whole number of tokens to keep');
  if (!(topP > 0 && topP <= 1)) fail('topP', topP, 'a number above 0 and at most 1');
  if (!(minP >= 0 && minP <= 1)) fail('minP', minP, 'a number from 0 to 1');
  if (!(repetitionPenalty > 0) || repetitionPenalty === Infinity) fail('repetitionPenalty', repetitionPenalty, 'a number above 0; 1 for off');
  for (const id of history ?? []) check(id >= 0 && id < vocabSize, 'sampleTokens', () => `token ${id} of a history is outside the vocabulary of ${vocabSize}`);
}

portableKernel<SampleTokensInputs, SampleTokensAttrs>(EspalierSampleTokens, ({ logits }, attrs) => {
  const [batch, vocabSize] = dims(logits);
  const values = logits.dataSync<'float32'>();
  const tokens = new Int32Array(batch);
  const logps = new Float32Array(batch);
  const room = { y: new Float64Array(vocabSize), w: new Float64Array(vocabSize) };
  for (let b = 0; b < batch; b++) {
    const drawn = sampleRow(values.subarray(b * vocabSize, (b + 1) * vocabSize), room, {
      seed: [attrs.seeds[2 * b], attrs.seeds[2 * b + 1]],
      sample: attrs.samples[b],
      position: attrs.positions[b],
      temperature: attrs.temperature[b],
      topK: attrs.topK[b],
      topP: attrs.topP[b],
      minP: attrs.minP[b],
      penalty: attrs.repetitionPenalty[b],
      history: attrs.history.subarray(attrs.historyOffsets[b], attrs.historyOffsets[b + 1]),
    });
    if (!drawn) throw new EspalierError('internal', `row ${b} of the logits holds NaN, +Infinity or nothing finite: it cannot be sampled`);
    tokens[b] = drawn.token;
    logps[b] = drawn.logp;
  }
  return [tensor1d(tokens, 'int32'), tensor1d(logps)];
});
