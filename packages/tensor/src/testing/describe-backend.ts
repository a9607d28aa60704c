import { describe, it } from 'vitest';
import type { MatmulPrecision } from '../precision';
import { backendChecks } from './backend-checks';

/**
 * The conformance suite of backends, in vitest: every fused operation with its gradient against float64 and against the portable kernels, decoding and the optimiser
 * against the portable kernels. tfjs-core's own suite is for the standard operations.
 * @param name as `selectBackend` knows it, or as it is registered with tfjs
 * @param options.tolerance largest error relative to the largest expected number of a tensor. Default 1e-5, in bf16 2e-2
 * @param options.precision of matrix products, where the backend has a choice. Default `fp32`
 * @example
 * import 'espalier-backend-mine';
 * describeBackend('mine');
 */
export function describeBackend(name: string, options: { title?: string; tolerance?: number; precision?: MatmulPrecision } = {}): void {
  const precision = options.precision ?? 'fp32';
  const subject = { name, precision, tolerance: options.tolerance ?? (precision === 'bf16' ? 2e-2 : 1e-5) };
  describe(options.title ?? `the backend ${name}`, () => {
    for (const [check, run] of Object.entries(backendChecks())) it(check, () => run(subject));
  });
}
