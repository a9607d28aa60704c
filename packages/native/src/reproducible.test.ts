import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { nativeStatus, type NativeFeatures } from './index';

const status = nativeStatus();
if (!status.available) console.warn(`not checked here: ${status.reason}`);

/** Runs every kernel whose sums are divided among threads, and prints a hash of each result. */
const program = `
const { createHash } = require('node:crypto');
const b = require(process.argv[1]);
let seed = 1;
const f = (n) => Float32Array.from({ length: n }, () => ((seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32) * 3 - 1.5);
const out = {};
const keep = (name, ...arrays) => { const h = createHash('sha256'); for (const a of arrays) h.update(Buffer.from(a.buffer, a.byteOffset, a.byteLength)); out[name] = h.digest('hex').slice(0, 16); };
const [T, H, K, W] = [333, 6, 2, 20];
const [q, k, v, dy] = [f(T * H * W), f(T * K * W), f(T * K * W), f(T * H * W)];
const [o, lse, dq, dk, dv] = [f(T * H * W), f(T * H), f(T * H * W), f(T * K * W), f(T * K * W)];
const [offsets, prefixOf] = [Int32Array.of(0, 100, 130, 260, 333), Int32Array.of(-1, 0, -1, 0)];
b.causalAttention(q, k, v, offsets, prefixOf, o, lse, H, K, W, 0.2, 0, false);
keep('attention', o, lse);
b.causalAttentionGrad(dy, q, k, v, o, lse, offsets, prefixOf, dq, dk, dv, H, K, W, 0.2, 0, false);
keep('attentionGrad', dq, dk, dv);
const [rows, d] = [301, 77];
const [x, g, w, dx, dw, db] = [f(rows * d), f(rows * d), f(d), f(rows * d), f(d), f(d)];
b.rmsNormGrad(g, x, w, dx, dw, rows, d, 1e-5, false);
keep('rmsNormGrad', dx, dw);
b.layerNormGrad(g, x, w, dx, dw, db, rows, d, 1e-5);
keep('layerNormGrad', dx, dw, db);
const long = f(300000);
const sums = new Float32Array(1);
b.reduceRows(long, sums, 1, long.length, 0);
keep('sum', sums, Float64Array.of(b.squaredSum([long])));
const table = new Float32Array(50 * d);
b.scatterAddRows(x, Int32Array.from({ length: rows }, (_, i) => (i * 7) % 50), table, 50, d, true);
keep('scatterAdd', table);
b.columnSums(dw, x, rows, d, false);
keep('columnSums', dw);
const y = new Float32Array(rows * 60);
b.linearUnpacked(y, x, f(60 * d), null, rows, 60, d, 'fp32');
keep('linear', y);
const [adaptedY, inner, dIn, dA, dB, upper, lower, frozen] = [f(rows * 60), f(rows * 5), f(rows * d), f(5 * d), f(60 * 5), f(5 * d), f(60 * 5), f(60 * d)];
b.adaptedLinears([adaptedY], inner, x, [frozen], [null], [null], [upper], [lower], Float64Array.of(2), rows, d, 'bf16');
b.adaptedLinearsGrad(dIn, [dA], [dB], [y], x, inner, [frozen], [upper], [lower], Float64Array.of(2), rows, d, 'bf16');
keep('adaptedLinears', adaptedY, inner, dIn, dA, dB);
b.linearsGrad(dIn, [frozen.subarray(0, 30 * d), frozen.subarray(30 * d)], [y.subarray(0, rows * 30), y.subarray(rows * 30)], x, [f(30 * d), f(30 * d)], rows, d, 'fp32');
keep('linearsGrad', dIn, frozen);
const [A, V, E] = [37, 1500, 9];
const [hidden, head, teacherHidden, teacherHead] = [f(A * W), f(V * W), f(A * E), f(V * E)];
const [divergence, zLse, tLse, kl, dHidden, dHead] = [f(A), f(A), f(A), f(A), f(A * W), f(V * W)];
const heads = [hidden, head, null, teacherHidden, teacherHead, null, A, V, W, E, 0.3, 0.9, 'fp32'];
b.tokenDivergence(...heads, divergence, zLse, tLse, kl);
b.tokenDivergenceBackward(...heads, zLse, tLse, kl, f(A), dHidden, dHead);
keep('tokenDivergence', divergence, zLse, tLse, kl, dHidden, dHead);
console.log(JSON.stringify(out));
`;

const run = (environment: Record<string, string>): Record<string, string> => {
  const library = fileURLToPath(new URL('../espalier-native.node', import.meta.url));
  return JSON.parse(execFileSync(process.execPath, ['-e', program, library], { env: { ...process.env, ...environment }, encoding: 'utf8' })) as Record<string, string>;
};

/** Names of kernels, and results as numbers. */
const asOn = `
const b = require(process.argv[1]);
let seed = 1;
const f = (n) => Float32Array.from({ length: n }, () => ((seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32) * 3 - 1.5);
const [rows, n, d] = [37, 70, 333];
const [x, w, g] = [f(rows * d), f(n * d), f(d)];
const out = {};
for (const precision of ['fp32', 'bf16', 'int8']) {
  const y = new Float32Array(rows * n);
  b.linear(y, x, b.packWeight(w, n, d, precision), null, rows);
  out[precision] = [...y];
}
const normed = new Float32Array(rows * d);
b.rmsNorm(x, g, normed, rows, d, 1e-5);
out.norm = [...normed];
const [T, H, K, W] = [133, 6, 2, 20];
const [o, lse] = [new Float32Array(T * H * W), new Float32Array(T * H)];
b.causalAttention(f(T * H * W), f(T * K * W), f(T * K * W), Int32Array.of(0, 100, T), Int32Array.of(-1, 0), o, lse, H, K, W, 0.2, 0, false);
out.attention = [...o];
console.log(JSON.stringify({ features: b.features(), out }));
`;

const on = (ESPALIER_CPU: string) => {
  const library = fileURLToPath(new URL('../espalier-native.node', import.meta.url));
  return JSON.parse(execFileSync(process.execPath, ['-e', asOn, library], { env: { ...process.env, ESPALIER_CPU }, encoding: 'utf8' })) as { features: NativeFeatures; out: Record<string, number[]> };
};

describe.skipIf(!status.available)('ESPALIER_CPU', () => {
  it('stands for a processor that has less, with the same results', () => {
    const [here, avx2, baseline] = ['', 'avx2', 'baseline'].map(on);
    expect(avx2.features).toMatchObject({ avx2: here.features.avx2, avx512: false, avx512Bf16: false, avx512Vnni: false, amxBf16: false, nativeBf16: false });
    expect(baseline.features).toMatchObject({ avx2: false, avx512: false, fp32Kernel: 'portable', bf16Kernel: 'portable-rounded', int8Kernel: 'portable-int8' });
    for (const other of [avx2, baseline]) {
      expect(other.out.int8).toEqual(here.out.int8); // whole numbers: no order of a sum to differ by
      for (const [name, values] of Object.entries(here.out)) {
        const size = Math.max(...values.map(Math.abs));
        expect(size).toBeGreaterThan(0.1);
        expect(Math.max(...values.map((value, i) => Math.abs(value - other.out[name][i]))) / size, name).toBeLessThan(1e-5);
      }
    }
  });
});

describe.skipIf(!status.available)('results', () => {
  it('are the same to the bit on one thread, on two and on seven', () => {
    const one = run({ ESPALIER_NUM_THREADS: '1' });
    expect(Object.keys(one)).toHaveLength(11);
    expect(run({ ESPALIER_NUM_THREADS: '2' })).toEqual(one);
    expect(run({ ESPALIER_NUM_THREADS: '7' })).toEqual(one);
  });
});
