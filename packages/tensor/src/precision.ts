import { nativePrecision, setNativePrecision, withNativePrecision } from '@espalier/native';
import { EspalierError } from '@espalier/spec';
import { getBackend } from '@tensorflow/tfjs-core';

/** `bf16`: operands rounded to bf16, sums in fp32. */
export type MatmulPrecision = 'bf16' | 'fp32';

/**
 * Sets the precision of matrix products of linear layers and the language-model head on the backend `native`. Default: the environment's
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

/** Runs `body`, which does not wait for anything, with its products in this precision. Backends other than `native` compute in fp32 whatever it is. */
export function withMatmulPrecision<T>(precision: MatmulPrecision, body: () => T): T {
  return withNativePrecision(precision, body);
}

/** A misspelt environment variable is an error and not a default. */
export function checkPrecisionSetting(): void {
  const setting = process.env.ESPALIER_MATMUL_PRECISION;
  if (setting && setting !== 'bf16' && setting !== 'fp32') throw unknown('ESPALIER_MATMUL_PRECISION', setting);
}

const unknown = (what: string, value: unknown) => new EspalierError('usage', `${what} is ${JSON.stringify(value)}`, { fix: 'bf16 or fp32' });
