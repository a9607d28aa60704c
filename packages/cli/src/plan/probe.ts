import type { DecoderConfig } from '@espalier/models';

/** Floating-point operations a second that this machine reaches in a product of the model's own shape. */
export interface Rates {
  backend: string;
  precision: string;
  /** Many tokens at once: training, reading prompts. */
  wide: number;
  /** A few samples at once: generation, which waits for the weights to be read. */
  narrow: number;
  /** The product that was timed, for people: `512 × 576 × 1536`. */
  shape: string;
}

const budget = 150; // milliseconds a shape

/**
 * Times a matrix product as the model's feed-forward layer makes it, on the backend that would be chosen.
 * @param samples completions that are generated together; 0: none are
 */
export async function probeRates(config: DecoderConfig, options: { backend?: string; precision?: 'bf16' | 'fp32'; samples: number }): Promise<Rates> {
  const { fill, linear, matmulPrecision, selectBackend, setMatmulPrecision, tidy } = await import('@espalier/tensor');
  const { name } = await selectBackend(options.backend);
  if (options.precision) setMatmulPrecision(options.precision);
  const { hiddenSize: k, intermediateSize: n } = config;
  const weight = fill([n, k], 0.01);
  const rate = (rows: number): number => {
    const x = fill([rows, k], 0.5);
    const once = () => tidy(() => void linear(x, weight).dataSync());
    once();
    const began = performance.now();
    let best = Infinity; // the least disturbed one
    for (let start = began; start - began < budget; start = performance.now()) {
      once();
      best = Math.min(best, performance.now() - start);
    }
    x.dispose();
    return (2 * rows * k * n * 1000) / best;
  };
  try {
    const wide = rate(512);
    return { backend: name, precision: matmulPrecision(), wide, narrow: options.samples > 0 ? rate(Math.min(64, options.samples)) : wide, shape: `512 × ${k} × ${n}` };
  } finally {
    weight.dispose();
  }
}
