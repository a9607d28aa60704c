import { EspalierError, type TokenBatch } from '@espalier/spec';
import { seededNumbers } from '@espalier/models';
import type { MicroBatch } from './micro-batch';
import type { BatchPart, EmbeddingNoise } from './protocol';

/**
 * What a part needs to draw its share of the batch's noise: the same numbers for a sequence, whatever part it is in.
 * @throws EspalierError `bad_config` for an alpha or a seed that is not usable
 */
export function noiseOf(batch: TokenBatch, micro: MicroBatch, { neftuneNoiseAlpha: alpha = 0, seed }: { neftuneNoiseAlpha?: number; seed?: number }): EmbeddingNoise | undefined {
  if (!(alpha >= 0) || !Number.isFinite(alpha)) throw new EspalierError('bad_config', `\`neftune_noise_alpha\` is ${alpha}`, { fix: '5 is usual; 0 adds no noise' });
  if (alpha === 0) return undefined;
  if (!Number.isSafeInteger(seed)) throw new EspalierError('bad_config', `the seed of the embedding noise is ${seed}`, { fix: 'a whole number, another for each call' });
  const own = (s: number) => batch.offsets[s + 1] - batch.offsets[s];
  const lengths = Int32Array.from({ length: batch.offsets.length - 1 }, (_, s) => own(s));
  batch.prefixOf?.forEach((prefix, s) => {
    if (prefix < 0) return;
    lengths[s] = own(s) + own(prefix);
    lengths[prefix] = Math.max(lengths[prefix], lengths[s]); // a shared prefix is part of its longest sequence
  });
  return { alpha, seed: seed!, sequences: micro.sequences, lengths: micro.sequences.map((s) => lengths[s]) };
}

/** Uniform in ±alpha / sqrt(length · width) (NEFTune, Jain et al. 2023, algorithm 1), from the seed and the sequence's place in the batch. `[T · D]` */
export function drawNoise(part: Pick<BatchPart, 'offsets'>, width: number, { alpha, seed, sequences, lengths }: EmbeddingNoise): Float32Array {
  const noise = new Float32Array(part.offsets[part.offsets.length - 1] * width);
  sequences.forEach((sequence, i) => {
    const { uniform } = seededNumbers(seed, `neftune.${sequence}`);
    const magnitude = alpha / Math.sqrt(lengths[i] * width);
    for (let at = part.offsets[i] * width; at < part.offsets[i + 1] * width; at++) noise[at] = magnitude * (2 * uniform() - 1);
  });
  return noise;
}
