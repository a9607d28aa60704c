import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EspalierError } from '@espalier/spec';
import { memory, selectBackend } from '@espalier/tensor';
import type { DecoderConfig } from '../config';
import { createDecoder, type Decoder } from '../decoder';
import { randomWeights } from '../init';
import { openSafetensors } from '../safetensors';
import { writeSafetensors } from '../safetensors-writer';
import type { WeightSource } from '../weight-source';
import { cachedLogits, logitsOf, packSequences } from './decoding';
import { checkGradients } from './gradient-check';
import { withNoise } from './tiny-config';

export interface ArchitectureOptions {
  /** Its shape: a tiny one, such as `tinyConfig` gives. */
  config: DecoderConfig;
  /** Builds the decoder. Default: `createDecoder(config, weights)`. */
  create?(weights: WeightSource): Decoder;
  /** Its weights, the same for the same seed. Default: `randomWeights` with noise on biases and norms. */
  weights?(seed: number): WeightSource;
  /** Default `cpu`: plain arithmetic in fp32. */
  backend?: string;
  /** Largest error of a logit, relative to the larger of 1 and it. Default 1e-4. */
  tolerance?: number;
  /** Largest error of a derivative, relative to the largest one of its parameter. Default 2e-2: differences in fp32 see no better. */
  gradientTolerance?: number;
}

export type ArchitectureSubject = Required<ArchitectureOptions>;

/**
 * What the checks of an architecture run on.
 * @example
 * await architectureChecks['is causal'](architectureSubject({ config: tinyConfig('qwen3') }));
 */
export function architectureSubject(options: ArchitectureOptions): ArchitectureSubject {
  const { config } = options;
  return {
    create: (weights) => createDecoder(config, weights),
    weights: (seed) => withNoise(randomWeights(config, seed), seed),
    backend: 'cpu', tolerance: 1e-4, gradientTolerance: 2e-2, ...options,
  };
}

/** @throws EspalierError `internal` with what was expected, what was found and why it matters */
export function fail(expected: string, found: string, why: string): never {
  throw new EspalierError('internal', `expected ${expected}; found ${found}. ${why}`);
}

function compare(what: string, expected: readonly Float32Array[], found: readonly Float32Array[], tolerance: number, why: string): void {
  if (found.length !== expected.length) fail(`${expected.length} positions of ${what}`, `${found.length}`, why);
  expected.forEach((row, t) =>
    row.forEach((value, i) => {
      if (!(Math.abs(found[t][i] - value) <= tolerance * Math.max(1, Math.abs(value)))) fail(`${what} to be ${value} (position ${t}, token ${i})`, `${found[t][i]}`, why);
    }),
  );
}

/** Runs `work` on a decoder, which is disposed; no tensor may be left behind. */
async function on<T>(subject: ArchitectureSubject, work: (decoder: Decoder, weights: WeightSource) => T): Promise<T> {
  await selectBackend(subject.backend);
  const before = memory().numTensors;
  const weights = subject.weights(3);
  const decoder = subject.create(weights);
  let result: T;
  try {
    result = work(decoder, weights);
  } finally {
    decoder.dispose();
  }
  if (memory().numTensors !== before) fail('no tensor left behind once the decoder is disposed', `${memory().numTensors - before}`, 'Memory grows with every step.');
  return result;
}

const long = (vocabSize: number) => Array.from({ length: 11 }, (_, t) => (3 + 7 * t) % vocabSize);
const short = (vocabSize: number) => [5, 1, 8, 5, 12].map((token) => token % vocabSize);

/** The contract of an architecture, check by check. */
export const architectureChecks = {
  'gives finite logits that differ, the same each time': (subject: ArchitectureSubject) =>
    on(subject, (decoder) => {
      const batch = packSequences([long(subject.config.vocabSize), short(subject.config.vocabSize)]);
      const [first, second] = [logitsOf(decoder, batch).flat(), logitsOf(decoder, batch).flat()];
      if (!first.every((row) => row.every(Number.isFinite))) fail('finite logits', 'NaN or infinity', 'One NaN makes every weight NaN.');
      if (first.every((row) => row.every((value) => value === first[0][0]))) fail('logits that differ', `${first[0][0]} everywhere`, 'A model that says nothing passes every comparison.');
      compare('the logits of a second pass', first, second, 0, 'Sampling is reproducible, and a run that resumes comes to the same numbers.');
    }),

  'gives each sequence of a batch what it gives it alone': (subject: ArchitectureSubject) =>
    on(subject, (decoder) => {
      const sequences = [long(subject.config.vocabSize), short(subject.config.vocabSize), [7 % subject.config.vocabSize]];
      const together = logitsOf(decoder, packSequences(sequences));
      sequences.forEach((sequence, s) => compare(`the logits of sequence ${s} in a batch`, logitsOf(decoder, packSequences([sequence]))[0], together[s], subject.tolerance, 'Sequences are packed without padding: none may see another.'));
    }),

  'is causal': (subject: ArchitectureSubject) =>
    on(subject, (decoder) => {
      const sequence = long(subject.config.vocabSize);
      const place = 6;
      const changed = sequence.map((token, t) => (t === place ? (token + 1) % subject.config.vocabSize : token));
      const [before, after] = [logitsOf(decoder, packSequences([sequence]))[0], logitsOf(decoder, packSequences([changed]))[0]];
      compare(`the logits before token ${place}, whatever stands there,`, before.slice(0, place), after.slice(0, place), 1e-6, 'A model that sees the token that it predicts learns to copy it, and generates nothing.');
      for (let t = place; t < sequence.length; t++) if (before[t].every((value, i) => value === after[t][i])) fail(`the logits at position ${t} to depend on token ${place}`, 'the same as for another token', 'A model that does not see what precedes learns from single tokens alone.');
    }),

  'tells positions apart': (subject: ArchitectureSubject) =>
    on(subject, (decoder) => {
      const batch = packSequences([short(subject.config.vocabSize)]);
      const [near, far] = [logitsOf(decoder, batch)[0], logitsOf(decoder, { ...batch, positions: batch.positions.map((position) => 3 * position) })[0]];
      const last = near.length - 1;
      if (near[last].every((value, i) => Math.abs(value - far[last][i]) <= 1e-6)) fail('other logits where the tokens before stand further away', 'the same', 'Without positions a sequence is a bag of tokens.');
    }),

  'computes a shared prefix once, with the same results': (subject: ArchitectureSubject) =>
    on(subject, (decoder) => {
      const prompt = long(subject.config.vocabSize).slice(0, 5);
      const tails = [short(subject.config.vocabSize), long(subject.config.vocabSize).slice(5)];
      const shared = logitsOf(decoder, packSequences([prompt, ...tails], [-1, 0, 0]));
      tails.forEach((tail, i) => {
        const apart = logitsOf(decoder, packSequences([[...prompt, ...tail]]))[0];
        compare(`the logits of continuation ${i} of a shared prefix`, apart.slice(prompt.length), shared[i + 1], subject.tolerance, 'The completions of a group share their prompt.');
      });
    }),

  'decodes from a cache what it computes at once': (subject: ArchitectureSubject) =>
    on(subject, (decoder) => {
      const prompt = long(subject.config.vocabSize).slice(0, 4);
      const tails = [short(subject.config.vocabSize), long(subject.config.vocabSize).slice(4)];
      const cached = cachedLogits(decoder, prompt, tails);
      tails.forEach((tail, i) => {
        const whole = logitsOf(decoder, packSequences([[...prompt, ...tail]]))[0];
        compare(`the logits of continuation ${i}, decoded from a cache,`, whole.slice(prompt.length), cached[i], subject.tolerance, 'What the policy samples must be what it is trained on: importance ratios would be wrong from the first step on.');
      });
    }),

  'gives gradients that finite differences confirm': (subject: ArchitectureSubject) => on(subject, (decoder) => checkGradients(decoder, packSequences([long(subject.config.vocabSize), short(subject.config.vocabSize)]), subject.gradientTolerance)),

  'is saved and loaded to the bit': async (subject: ArchitectureSubject) => {
    const dir = mkdtempSync(join(tmpdir(), 'espalier-architecture-'));
    try {
      const batch = packSequences([long(subject.config.vocabSize)]);
      const path = join(dir, 'model.safetensors');
      const why = 'A run that resumes must come to the same numbers, and a checkpoint must be the model that was trained.';
      const expected = await on(subject, (decoder, source) => {
        const weights = decoder.weights();
        for (const [name, { shape }] of source.tensors) {
          const held = weights.tensors.get(name);
          if (held?.shape.join() !== shape.join()) fail(`the tensor ${name} of the shape [${shape.join(', ')}] among its weights`, held ? `[${held.shape.join(', ')}]` : 'none', why);
          compare(`the tensor ${name}`, [source.read(name)], [weights.read(name)], 0, why);
        }
        writeSafetensors(path, [...weights.tensors.values()].map(({ name, shape }) => ({ name, shape, data: () => weights.read(name) })));
        return logitsOf(decoder, batch)[0];
      });
      const file = openSafetensors(path);
      const loaded = await on({ ...subject, weights: () => file }, (decoder) => logitsOf(decoder, batch)[0]);
      file.close();
      compare('the logits of the model that was loaded', expected, loaded, 0, why);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  },

  'refuses tokens outside its vocabulary': (subject: ArchitectureSubject) =>
    on(subject, (decoder) => {
      for (const token of [subject.config.vocabSize, -1]) {
        try {
          logitsOf(decoder, packSequences([[1, token]]));
        } catch (error) {
          if (!(error instanceof Error && error.message !== '')) fail(`an error that says what is wrong with the token ${token}`, String(error), 'It comes from another tokenizer.');
          continue;
        }
        fail(`the token ${token} of a vocabulary of ${subject.config.vocabSize} to be refused`, 'logits', 'It comes from another tokenizer: what is read in its place is noise.');
      }
    }),
} as const;
