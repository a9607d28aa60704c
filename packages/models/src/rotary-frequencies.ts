import type { DecoderConfig, RopeScaling } from './config';

/** What `rotary` needs to know. */
export interface RotaryFrequencies {
  invFreq: Float32Array; // [Dh / 2]
  /** Factor of cosine and sine. */
  scaling: number;
}

/**
 * The rotary frequencies of a model, in float32 steps as transformers' `modeling_rope_utils` takes them. `dynamic` (NTK) changes nothing up to the
 * model's own length, and the decoder refuses positions beyond it.
 */
export function rotaryFrequencies(config: DecoderConfig): RotaryFrequencies {
  const plain = inverseFrequencies(config);
  const scaling = config.ropeScaling;
  switch (scaling?.type) {
    case undefined:
    case 'dynamic':
      return { invFreq: plain, scaling: 1 };
    case 'linear':
      return { invFreq: plain.map((f) => f / scaling.factor), scaling: 1 };
    case 'llama3':
      return { invFreq: llama3(plain, scaling), scaling: 1 };
    case 'yarn':
      return yarn(config, scaling);
  }
}

/** `theta^(-2 i / Dh)` */
function inverseFrequencies({ headDim, ropeTheta }: DecoderConfig): Float32Array {
  return Float32Array.from({ length: headDim / 2 }, (_, i) => 1 / Math.fround(ropeTheta ** Math.fround((2 * i) / headDim)));
}

/** Llama 3.1: long waves are stretched, short ones left alone, those between interpolated. */
function llama3(plain: Float32Array, { factor, lowFreqFactor = 1, highFreqFactor = 4, originalMaxPositions = 8192 }: RopeScaling): Float32Array {
  return plain.map((f) => {
    const wavelength = (2 * Math.PI) / f;
    if (wavelength < originalMaxPositions / highFreqFactor) return f;
    if (wavelength > originalMaxPositions / lowFreqFactor) return f / factor;
    const smooth = (originalMaxPositions / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
    return ((1 - smooth) * f) / factor + smooth * f;
  });
}

/** YaRN (Peng et al. 2023): a ramp over the dimensions between stretched and unstretched frequencies, and a temperature on the scores. */
function yarn(config: DecoderConfig, settings: RopeScaling): RotaryFrequencies {
  const { factor, betaFast = 32, betaSlow = 1, mscale, mscaleAllDim, truncate = true } = settings;
  const length = settings.originalMaxPositions ?? config.maxPositions;
  const dim = config.headDim;
  // The dimension whose wave turns `rotations` times within the original length.
  const dimensionOf = (rotations: number) => (dim * Math.log(length / (rotations * 2 * Math.PI))) / (2 * Math.log(config.ropeTheta));
  let low = dimensionOf(betaFast);
  let high = dimensionOf(betaSlow);
  if (truncate) [low, high] = [Math.floor(low), Math.ceil(high)];
  low = Math.max(low, 0);
  high = Math.min(high, dim - 1);
  if (low === high) high += 0.001;
  const invFreq = inverseFrequencies(config).map((f, i) => {
    const stretched = Math.min(1, Math.max(0, (i - low) / (high - low)));
    return (f / factor) * stretched + f * (1 - stretched);
  });
  const magnitude = (m: number) => (factor <= 1 ? 1 : 0.1 * m * Math.log(factor) + 1);
  const scaling = settings.attentionFactor ?? (mscale && mscaleAllDim ? magnitude(mscale) / magnitude(mscaleAllDim) : magnitude(1));
  return { invFreq, scaling };
}
