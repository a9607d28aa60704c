import { afterEach, describe, expect, it, vi } from 'vitest';
import { backendNames, currentBackend, linear, matmulPrecision, probeBackends, selectBackend, setMatmulPrecision, tensor2d, tokenOutputs, withMatmulPrecision } from './index';
import type { MatmulPrecision } from './index';

describe('the choice of backend', () => {
  afterEach(() => void vi.unstubAllEnvs());

  it('takes the best that is here and says why the others were not', async () => {
    vi.stubEnv('ESPALIER_BACKEND', '');
    const report = await selectBackend();
    expect(report.attempts.map(({ name }) => name)).toEqual(backendNames.slice(0, report.attempts.length));
    expect(report.attempts.at(-1)).toMatchObject({ name: report.name, available: true });
    for (const { reason } of report.attempts) expect(reason).not.toBe('');
  });

  it('takes the one that was asked for, by argument or environment', async () => {
    expect((await selectBackend('cpu')).name).toBe('cpu');
    expect(currentBackend()).toBe('cpu');
    expect(matmulPrecision()).toBe('fp32');
    vi.stubEnv('ESPALIER_BACKEND', 'cpu');
    expect((await selectBackend()).name).toBe('cpu');
  });

  it('rounds linear layers to eight bits where that is asked for, and nothing else', async ({ skip }) => {
    const { name } = await selectBackend();
    skip(name !== 'native', 'the Rust kernels are missing');
    const numbers = (seed: number, rows: number, columns: number) => tensor2d(Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(seed + i * i)), [rows, columns]);
    const [x, w] = [numbers(1, 3, 40), numbers(2, 50, 40)];
    const product = () => [...linear(x, w).dataSync()];
    const logps = () => [...tokenOutputs(x, w, Int32Array.of(1, 2, 3)).logps.dataSync()];
    const [exact, rounded] = [product(), withMatmulPrecision('int8', product)];
    const differences = rounded.map((value, i) => Math.abs(value - exact[i]));
    expect(Math.max(...differences)).toBeGreaterThan(1e-4);
    expect(Math.max(...differences)).toBeLessThan(0.5);
    expect(product()).toEqual(exact);
    expect(withMatmulPrecision('int8', logps)).toEqual(logps());
  });

  it('refuses unknown names and misspelt settings', async () => {
    await expect(selectBackend('cuda')).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining('native, tensorflow-gpu') });
    expect(() => setMatmulPrecision('fp16' as MatmulPrecision)).toThrow(/fp16.*bf16 or fp32/);
    vi.stubEnv('ESPALIER_MATMUL_PRECISION', 'half');
    await expect(selectBackend('cpu')).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining('half') });
    vi.stubEnv('ESPALIER_MATMUL_PRECISION', '');
    vi.stubEnv('ESPALIER_CPU', 'sse9');
    await expect(selectBackend('cpu')).rejects.toMatchObject({ code: 'usage', message: expect.stringMatching(/ESPALIER_CPU.*sse9.*avx2 or baseline/) });
  });

  it('says that a backend which was asked for is not here', async () => {
    const absent = (await probeBackends()).find(({ available }) => !available);
    if (!absent) return; // a machine that has them all
    await expect(selectBackend(absent.name)).rejects.toMatchObject({ code: 'backend_unavailable', message: expect.stringContaining(absent.reason) });
  });
});
