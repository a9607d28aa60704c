import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { nativeStatus } from './index';

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
b.causalAttention(q, k, v, offsets, prefixOf, o, lse, H, K, W, 0.2, 0);
keep('attention', o, lse);
b.causalAttentionGrad(dy, q, k, v, o, lse, offsets, prefixOf, dq, dk, dv, H, K, W, 0.2, 0);
keep('attentionGrad', dq, dk, dv);
const [rows, d] = [301, 77];
const [x, g, w, dx, dw, db] = [f(rows * d), f(rows * d), f(d), f(rows * d), f(d), f(d)];
b.rmsNormGrad(g, x, w, dx, dw, rows, d, 1e-5);
keep('rmsNormGrad', dx, dw);
b.layerNormGrad(g, x, w, dx, dw, db, rows, d, 1e-5);
keep('layerNormGrad', dx, dw, db);
const long = f(300000);
const sums = new Float32Array(1);
b.reduceRows(long, sums, 1, long.length, 0);
keep('sum', sums, Float64Array.of(b.squaredSum(long)));
const table = new Float32Array(50 * d);
b.scatterAddRows(x, Int32Array.from({ length: rows }, (_, i) => (i * 7) % 50), table, 50, d, true);
keep('scatterAdd', table);
b.columnSums(dw, x, rows, d, false);
keep('columnSums', dw);
const y = new Float32Array(rows * 60);
b.linearUnpacked(y, x, f(60 * d), null, rows, 60, d, 'fp32');
keep('linear', y);
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

describe.skipIf(!status.available)('results', () => {
  it('are the same to the bit on one thread, on two and on seven', () => {
    const one = run({ ESPALIER_NUM_THREADS: '1' });
    expect(Object.keys(one)).toHaveLength(9);
    expect(run({ ESPALIER_NUM_THREADS: '2' })).toEqual(one);
    expect(run({ ESPALIER_NUM_THREADS: '7' })).toEqual(one);
  });
});
