import { EspalierError } from '@espalier/spec';
import type { Output } from '../output';

export interface SelfTestCheck {
  name: string;
  ok: boolean;
  seconds: number;
  /** What was expected and what was found, where it is not ok. */
  error?: string;
}

export interface SelfTest {
  backend: string;
  passed: number;
  failed: number;
  checks: readonly SelfTestCheck[];
}

/**
 * Largest errors relative to the largest expected number: fp32 sums in another order, bf16 operands. NVIDIA's cards multiply in TF32, with 10 bits of mantissa,
 * where TensorFlow is not told otherwise.
 */
const tolerances = { fp32: 1e-5, tf32: 5e-3, bf16: 2e-2 } as const;

/**
 * The portable suite on a backend: every fused operation and its gradient against float64, decoding and the optimiser against the portable kernels, a tiny model
 * against transformers. A line a check goes to the output as it is done.
 * @param signal ends it between two checks
 * @throws EspalierError `aborted`
 */
export async function selfTest(backend: string, output: Pick<Output, 'line'>, signal: AbortSignal): Promise<SelfTest> {
  const [{ matmulPrecision }, { backendChecks, useBackend }, { goldenChecks }] = await Promise.all([import('@espalier/tensor'), import('@espalier/tensor/checks'), import('@espalier/models/checks')]);
  await useBackend(backend);
  const precision = matmulPrecision();
  const subject = { name: backend, precision: 'fp32' as const, tolerance: backend === 'tensorflow-gpu' ? tolerances.tf32 : tolerances.fp32 };
  const fused = Object.entries(backendChecks());
  const all = [
    ...fused.map(([name, check]) => ({ name, run: () => check(subject) })),
    ...(precision === 'bf16' ? fused.filter(([name]) => name.endsWith('as in float64')).map(([name, check]) => ({ name: `${name}, in bf16`, run: () => check({ ...subject, precision: 'bf16' as const, tolerance: tolerances.bf16 }) })) : []),
    ...Object.entries(goldenChecks).map(([name, check]) => ({ name, run: () => inFp32(() => check(subject)) })),
  ];
  output.line(`backend ${backend}: ${all.length} checks`);
  const checks: SelfTestCheck[] = [];
  for (const { name, run } of all) {
    if (signal.aborted) throw new EspalierError('aborted', `the self-test ended after ${checks.length} of ${all.length} checks`);
    const begin = performance.now();
    let error: string | undefined;
    try {
      await run();
    } catch (cause) {
      error = cause instanceof Error ? cause.message : String(cause);
    }
    const check = { name, ok: error === undefined, seconds: (performance.now() - begin) / 1000, ...(error !== undefined && { error }) };
    checks.push(check);
    output.line(`${check.ok ? 'ok    ' : 'FAIL  '}${name}${error === undefined ? '' : `: ${error.split('\n')[0]}`}`);
  }
  const passed = checks.filter(({ ok }) => ok).length;
  output.line(`${passed} passed, ${checks.length - passed} failed`);
  return { backend, passed, failed: checks.length - passed, checks };
}

/** Products in fp32 while `work` waits for something, which `withMatmulPrecision` is not for. */
async function inFp32(work: () => Promise<void>): Promise<void> {
  const { matmulPrecision, setMatmulPrecision } = await import('@espalier/tensor');
  const before = matmulPrecision();
  setMatmulPrecision('fp32');
  try {
    await work();
  } finally {
    setMatmulPrecision(before);
  }
}
