import { beforeAll, describe, expect, it } from 'vitest';
import { loadNative, nativeStatus, type NativeBinding } from './binding';

const status = nativeStatus();

/** Numbers in [-1, 1) that depend on the seed alone. */
function noise(seed: number, length: number): Float32Array {
  let state = seed * 7919 + 1;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** x [m, k] · wᵀ for w [n, k], in float64. */
function product(x: Float32Array, w: Float32Array, m: number, n: number, k: number): Float64Array {
  const y = new Float64Array(m * n);
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) for (let t = 0; t < k; t++) y[i * n + j] = (y[i * n + j] ?? 0) + (x[i * k + t] ?? 0) * (w[j * k + t] ?? 0);
  return y;
}

function transpose(x: Float32Array, rows: number, columns: number): Float32Array {
  return Float32Array.from({ length: rows * columns }, (_, i) => x[(i % rows) * columns + Math.floor(i / rows)] ?? 0);
}

function expectClose(got: Float32Array, expected: ArrayLike<number>, limit = 1e-5): void {
  expect(got.length).toBe(expected.length);
  const worst = got.reduce((max, x, i) => Math.max(max, Math.abs(x - (expected[i] ?? Number.NaN)) || 0), 0);
  expect(got.every(Number.isFinite)).toBe(true);
  expect(worst).toBeLessThan(limit);
}

describe.skipIf(!status.available)(`the Rust library${status.available ? '' : ` (skipped: ${status.reason})`}`, () => {
  let native: NativeBinding;
  beforeAll(() => {
    const binding = loadNative();
    if (binding === null) throw new Error('the library was there a moment ago');
    native = binding;
  });

  it('says what it runs on', () => {
    const features = native.features();
    expect(features.threads).toBeGreaterThan(0);
    expect(features.fp32Kernel).not.toBe('');
    expect(features.refusedKernels).toEqual([]);
    expect(native.features()).toEqual(features);
  });

  it('allocates memory that can be released once', () => {
    const before = native.allocatedBytes();
    const buffer = native.allocate(5 << 20);
    const view = new Float32Array(buffer);
    view.fill(3);
    expect(native.allocatedBytes() - before).toBeGreaterThanOrEqual(5 << 20);
    expect(native.release(buffer)).toBe(true);
    expect(view.length).toBe(0);
    expect(native.allocatedBytes()).toBe(before);
    expect(native.release(buffer)).toBe(false);
    expect(native.release(new ArrayBuffer(8))).toBe(false);
    for (let i = 0; i < 100; i++) native.release(native.allocate(1 << 16)); // addresses come again
    expect(native.allocatedBytes()).toBe(before);
    for (const size of [0, -1, 1.5, Number.NaN, 2 ** 60]) expect(() => native.allocate(size)).toThrow(/allocate/);
  });

  it('computes the three products of a linear layer, packed or not', () => {
    const [m, n, k] = [37, 50, 70];
    const [x, w, dy, bias] = [noise(1, m * k), noise(2, n * k), noise(3, m * n), noise(4, n)];
    const expected = product(x, w, m, n, k).map((y, i) => y + (bias[i % n] ?? 0));
    const y = new Float32Array(m * n);
    native.linearUnpacked(y, x, w, bias, m, n, k, 'fp32');
    expectClose(y, expected);

    const packed = native.packWeight(w, n, k, 'fp32');
    expect([packed.n, packed.k, packed.precision]).toEqual([n, k, 'fp32']);
    const again = new Float32Array(m * n);
    native.linear(again, x, packed, bias, m);
    expect(again).toEqual(y);
    const row = new Float32Array(n);
    native.linear(row, x.subarray(5 * k, 6 * k), packed, bias, 1);
    expect(row).toEqual(y.subarray(5 * n, 6 * n));

    const dx = new Float32Array(m * k);
    native.linearsDx(dx, [dy], [w], m, k, 'fp32');
    expectClose(dx, product(dy, transpose(w, n, k), m, k, n));
    const turned = native.packWeight(w, k, n, 'fp32', true);
    const viaPacked = new Float32Array(m * k);
    native.linear(viaPacked, dy, turned, null, m);
    expect(viaPacked).toEqual(dx);

    const dw = new Float32Array(n * k);
    const both = new Float32Array(m * k);
    native.linearsGrad(both, [dw], [dy], x, [w], m, k, 'fp32');
    expect(both).toEqual(dx);
    expectClose(dw, product(transpose(dy, m, n), transpose(x, m, k), n, k, m));
    const db = new Float32Array(n);
    native.columnSums(db, dy, m, n, false);
    expectClose(db, product(new Float32Array(m).fill(1), transpose(dy, m, n), 1, n, m));

    native.repackWeight(packed, noise(9, n * k));
    native.linear(again, x, packed, null, m);
    expectClose(again, product(x, noise(9, n * k), m, n, k));
    native.releaseWeight(packed);
    expect(packed.bytes).toBe(0);
    expect(() => native.linear(again, x, packed, null, m)).toThrow(/released/);
    native.releaseWeight(turned);
  });

  it('multiplies batches with any strides', () => {
    const [batch, m, n, k] = [3, 4, 5, 6];
    const [a, b] = [noise(1, batch * m * k), noise(2, k * n)];
    const c = new Float32Array(batch * m * n);
    // The second operand is one matrix for all.
    native.matmul(c, a, { batch: m * k, row: k, column: 1 }, b, { batch: 0, row: n, column: 1 }, batch, m, n, k, 'fp32', false);
    expectClose(c, product(a, transpose(b, k, n), batch * m, n, k));
    expect(() => {
      native.matmul(c, a, { batch: m * k, row: k, column: 2 }, b, { batch: 0, row: n, column: 1 }, batch, m, n, k, 'fp32', false);
    }).toThrow(/matmul: a is too short/);
  });

  it('rounds both operands in bf16', () => {
    const [m, n, k] = [3, 20, 64];
    const round = (x: Float32Array): Float32Array => {
      const bits = new Uint32Array(x.slice().buffer);
      for (let i = 0; i < bits.length; i++) {
        const value = bits[i] ?? 0;
        bits[i] = ((value + 0x7fff + ((value >>> 16) & 1)) >>> 16) << 16;
      }
      return new Float32Array(bits.buffer);
    };
    const [x, w] = [noise(1, m * k), noise(2, n * k)];
    const y = new Float32Array(m * n);
    native.linearUnpacked(y, x, w, null, m, n, k, 'bf16');
    expectClose(y, product(round(x), round(w), m, n, k));
  });

  it('gives the outputs of the LM head and their gradients', () => {
    const [a, v, d] = [3, 11, 4];
    const [hidden, w] = [noise(1, a * d), noise(2, v * d)];
    const targets = Int32Array.of(0, 10, 5);
    const [logps, entropy, lse] = [new Float32Array(a), new Float32Array(a), new Float32Array(a)];
    native.tokenOutputs(hidden, w, null, null, targets, a, v, d, 0.7, 'fp32', logps, entropy, null, lse, null);
    const logits = product(hidden, w, a, v, d).map((x) => x / 0.7);
    const expected = [0, 1, 2].map((i) => {
      const row = logits.subarray(i * v, (i + 1) * v);
      return (row[targets[i] ?? 0] ?? 0) - Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0));
    });
    expectClose(logps, expected, 1e-6);

    const ones = new Float32Array(a).fill(1);
    const [dhidden, dw] = [new Float32Array(a * d), new Float32Array(v * d)];
    native.tokenOutputsBackward(hidden, w, null, null, targets, a, v, d, 0.7, 'fp32', lse, entropy, null, ones, ones, null, null, null, dhidden, dw, null, false);
    const total = (): number => {
      native.tokenOutputs(hidden, w, null, null, targets, a, v, d, 0.7, 'fp32', logps, entropy, null, lse, null);
      return [...logps, ...entropy].reduce((sum, x) => sum + x, 0);
    };
    for (const [values, gradient] of [[hidden, dhidden], [w, dw]] as const) {
      for (let i = 0; i < values.length; i++) {
        const value = values[i] ?? 0;
        values[i] = value + 2 ** -7;
        const up = total();
        values[i] = value - 2 ** -7;
        const down = total();
        values[i] = value;
        expect(Math.abs((up - down) * 2 ** 6 - (gradient[i] ?? Number.NaN))).toBeLessThan(2e-3);
      }
    }
    expect(() => {
      native.tokenOutputs(hidden, w, null, null, Int32Array.of(0, 11, 5), a, v, d, 1, 'fp32', logps, null, null, lse, null);
    }).toThrow(/target 1 is 11/);
    expect(() => {
      native.tokenOutputs(hidden, w, null, null, targets, a, v, d, 0, 'fp32', logps, null, null, lse, null);
    }).toThrow(/temperature 0/);
  });

  it('gives the divergence of two LM heads and its gradient', () => {
    const [a, v, d, e] = [3, 11, 4, 6];
    const [hidden, w, teacherHidden, teacherW] = [noise(1, a * d), noise(2, v * d), noise(3, a * e), noise(4, v * e)];
    const [divergence, lse, teacherLse, studentKl] = [new Float32Array(a), new Float32Array(a), new Float32Array(a), new Float32Array(a)];
    const run = (beta: number): void => {
      native.tokenDivergence(hidden, w, null, teacherHidden, teacherW, null, a, v, d, e, beta, 0.7, 'fp32', divergence, lse, teacherLse, studentKl);
    };
    const ones = new Float32Array(a).fill(1);
    const [dhidden, dw] = [new Float32Array(a * d), new Float32Array(v * d)];
    for (const beta of [0, 0.3, 1]) {
      run(beta);
      native.tokenDivergenceBackward(hidden, w, null, teacherHidden, teacherW, null, a, v, d, e, beta, 0.7, 'fp32', lse, teacherLse, studentKl, ones, dhidden, dw);
      const total = (): number => {
        run(beta);
        return divergence.reduce((sum, x) => sum + x, 0);
      };
      for (const [values, gradient] of [[hidden, dhidden], [w, dw]] as const) {
        for (let i = 0; i < values.length; i++) {
          const value = values[i] ?? 0;
          values[i] = value + 2 ** -7;
          const up = total();
          values[i] = value - 2 ** -7;
          const down = total();
          values[i] = value;
          expect(Math.abs((up - down) * 2 ** 6 - (gradient[i] ?? Number.NaN))).toBeLessThan(2e-3);
        }
      }
    }
    expect(() => run(1.5)).toThrow(/beta 1.5/);
    expect(() => {
      native.tokenDivergence(hidden, w, null, teacherHidden, teacherW.subarray(1), null, a, v, d, e, 0, 1, 'fp32', divergence, lse, teacherLse, studentKl);
    }).toThrow(/teacher's w/);
  });

  it('takes a step of AdamW', () => {
    const [w, m, v] = [Float32Array.of(1, -2), new Float32Array(2), new Float32Array(2)];
    native.adamW([w], [Float32Array.of(0.5, -4)], [m], [v], Float64Array.of(0.1), Float64Array.of(0.5), 1, 0.9, 0.999, 1e-8, 1);
    // The first step moves each weight by the learning rate against the sign of its gradient, after the decay.
    expectClose(w, [0.95 - 0.1, -1.9 + 0.1], 1e-6);
    expect(native.squaredSum([Float32Array.of(3, 4), Float32Array.of(), Float32Array.of(1)])).toBe(26);
    expect(() => {
      native.adamW([w], [Float32Array.of(1, 1)], [m], [v], Float64Array.of(0.1), Float64Array.of(0.5), 0, 0.9, 0.999, 1e-8, 1);
    }).toThrow(/step 0/);
    const before = [...w];
    const refused: [readonly Float32Array[], readonly Float32Array[], readonly Float32Array[], Float64Array, RegExp][] = [
      [[w, w], [m, m], [v, v], Float64Array.of(0.1, 0.1), /shares memory/],
      [[w], [m, m], [v], Float64Array.of(0.1), /1 parameters came with/],
      [[w], [m.subarray(1)], [v], Float64Array.of(0.1), /adamW: m has 1 elements, 2/],
      [[w], [m], [v], Float64Array.of(NaN), /must be finite/],
    ];
    for (const [ws, ms, vs, rates, message] of refused) {
      expect(() => {
        native.adamW(ws, ws.map(() => Float32Array.of(1, 1)), ms, vs, rates, rates, 1, 0.9, 0.999, 1e-8, 1);
      }).toThrow(message);
    }
    expect([...w]).toEqual(before);
  });

  it('has zeros, large and small', () => {
    for (const bytes of [4, 100_000, 5 * 2 ** 20]) {
      const used = new Uint8Array(native.allocate(bytes)).fill(7); // what the allocator may hand out again
      native.release(used.buffer);
      const zeros = new Float32Array(native.allocateZeros(bytes));
      expect(zeros.byteLength).toBe(bytes);
      expect(zeros.every((x) => x === 0)).toBe(true);
    }
  });

  it('refuses wrong lengths, overlaps and unknown precisions, and writes nothing then', () => {
    const buffer = new Float32Array(64);
    const y = buffer.subarray(0, 16);
    expect(() => {
      native.linearUnpacked(y, buffer.subarray(8, 24), new Float32Array(16), null, 4, 4, 4, 'fp32');
    }).toThrow(/shares memory/);
    expect(() => {
      native.linearUnpacked(y, new Float32Array(15), new Float32Array(16), null, 4, 4, 4, 'fp32');
    }).toThrow(/x has 15 elements, 16 are needed/);
    expect(() => {
      native.linearUnpacked(new Float32Array(15), new Float32Array(16), new Float32Array(16), null, 4, 4, 4, 'fp32');
    }).toThrow(/y has 15 elements/);
    expect(() => {
      native.linearUnpacked(y, new Float32Array(16), new Float32Array(16), null, 4, 4, 4, 'fp16' as 'fp32');
    }).toThrow(/precision 'fp16'/);
    expect(() => {
      native.packWeight(new Float64Array(4) as unknown as Float32Array, 2, 2, 'fp32');
    }).toThrow();
    expect(buffer.every((x) => x === 0)).toBe(true);
  });
});
