import { nativePrecision, setNativePrecision, withNativePrecision } from '@espalier/native';
import { EspalierError } from '@espalier/spec';
import { getBackend } from '@tensorflow/tfjs-core';

/** `bf16`: operands rounded to bf16, sums in fp32. */
export type MatmulPrecision = 'bf16' | 'fp32';

/**
 * Sets the precision of matrix products of linear layers and the language-model head, and of keys and values in attention, on the backend `native`. Default: the environment's
 * `ESPALIER_MATMUL_PRECISION`, else bf16 where the processor multiplies it and fp32 elsewhere. The other backends compute in fp32 always.
 * @throws EspalierError `usage` for another word
 */
export function setMatmulPrecision(precision: MatmulPrecision): void {
  if (precision !== 'bf16' && precision !== 'fp32') throw unknown('the matmul precision', precision);
  setNativePrecision(precision);
}

/** The precision in force on the selected backend. */
export function matmulPrecision(): MatmulPrecision {
  return getBackend() === 'native' ? nativePrecision() : 'fp32';
}

/**
 * Runs `body`, which does not wait for anything, with its products in this precision. Backends other than `native` compute in fp32 whatever it is. `int8`, for sampling:
 * linear layers with both operands in eight bits and a scale for each 32 numbers of a row; their gradients, and whatever else there is, stay as they are without it.
 */
export function withMatmulPrecision<T>(precision: MatmulPrecision | 'int8', body: () => T): T {
  return withNativePrecision(precision, body);
}

/** A misspelt environment variable is an error and not a default. */
export function checkProcessorSettings(): void {
  const { ESPALIER_MATMUL_PRECISION: precision, ESPALIER_CPU: processor } = process.env;
  if (precision && precision !== 'bf16' && precision !== 'fp32') throw unknown('ESPALIER_MATMUL_PRECISION', precision);
  if (processor && processor !== 'avx2' && processor !== 'baseline') throw unknown('ESPALIER_CPU', processor, 'avx2 or baseline; left out, it is the processor that is there');
}

const unknown = (what: string, value: unknown, fix = 'bf16 or fp32') => new EspalierError('usage', `${what} is ${JSON.stringify(value)}`, { fix });
