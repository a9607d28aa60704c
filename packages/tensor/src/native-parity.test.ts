import { nativeStatus } from '@espalier/native';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  addInPlace, adamW, cachedAttention, cacheWrite, causalAttention, embedding, gelu, globalNorm, layerNorm, linear, memory, record, residualAdd, rmsNorm, rotary, sampleTokens, selectBackend,
  setMatmulPrecision, swiglu, tensor, tensor2d, tokenDivergence, tokenOutputs, variable,
} from './index';
import type { SampleRow, Tensor } from './index';
import { testNumbers } from './testing';

/** A repeatable choice of shapes. */
function chooser(seed: number) {
  let state = (Math.imul(seed + 1, 0x9e3779b1) ^ 0x2545f491) >>> 0;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return {
    int: (from: number, to: number) => from + Math.floor(next() * (to - from + 1)),
    of: <T>(...choices: T[]): T => choices[Math.floor(next() * choices.length)],
    number: (from: number, to: number) => from + next() * (to - from),
  };
}
type Chooser = ReturnType<typeof chooser>;

interface Case {
  shapes: readonly (readonly number[])[];
  run(inputs: readonly Tensor[]): Tensor[];
}

const ints = (count: number, choose: () => number) => Int32Array.from({ length: count }, choose);

/** Random ragged sequences, some of which continue an earlier one. */
function layout(pick: Chooser) {
  const lengths = Array.from({ length: pick.int(1, 5) }, () => pick.of(0, 1, pick.int(1, 10), pick.int(1, 90)));
  if (lengths.reduce((a, b) => a + b) === 0) lengths.push(3);
  const prefixOf = new Int32Array(lengths.length).fill(-1);
  for (let s = 1; s < lengths.length; s++) {
    const roots = [...prefixOf.keys()].filter((r) => r < s && prefixOf[r] < 0);
    if (pick.number(0, 1) < 0.6) prefixOf[s] = pick.of(...roots);
  }
  return { offsets: Int32Array.from([0, ...lengths.map((_, i) => lengths.slice(0, i + 1).reduce((a, b) => a + b, 0))]), prefixOf };
}

const operations: Record<string, (pick: Chooser) => Case> = {
  linear: (pick) => {
    const [t, n, k] = [pick.int(1, 70), pick.int(1, 90), pick.int(1, 80)];
    return { shapes: [[t, k], [n, k], ...(pick.of(true, false) ? [[n]] : [])], run: ([x, w, b]) => [linear(x, w, b)] };
  },
  rmsNorm: (pick) => {
    const d = pick.int(1, 150);
    return { shapes: [pick.of([pick.int(1, 80), d], [pick.int(1, 20), pick.int(1, 5), d]), [d]], run: ([x, w]) => [rmsNorm(x, w, 1e-5)] };
  },
  layerNorm: (pick) => {
    const d = pick.int(2, 150);
    return { shapes: [[pick.int(1, 80), d], [d], [d]], run: ([x, w, b]) => [layerNorm(x, w, b, 1e-2)] };
  },
  swiglu: (pick) => {
    const shape = [pick.int(1, 60), pick.int(1, 700)];
    return { shapes: [shape, shape], run: ([gate, up]) => [swiglu(gate, up)] };
  },
  gelu: (pick) => ({ shapes: [[pick.int(1, 60), pick.int(1, 700)]], run: ([x]) => [gelu(x)] }),
  residualAdd: (pick) => {
    const shape = [pick.int(1, 60), pick.int(1, 700)];
    const scale = pick.of(1, 0.3);
    return { shapes: [shape, shape], run: ([a, b]) => [residualAdd(a, b, scale)] };
  },
  rotary: (pick) => {
    const [t, half, over] = [pick.int(1, 40), pick.int(1, 40), pick.of<number>(0, 0, 3)];
    const invFreq = Float32Array.from({ length: half }, (_, i) => 100 ** (-i / half));
    const positions = ints(t, () => pick.int(0, 200));
    const scaling = pick.of(1, 1.3);
    return { shapes: [[t, pick.int(1, 5), 2 * half + over]], run: ([x]) => [rotary(x, positions, invFreq, scaling)] };
  },
  embedding: (pick) => {
    const v = pick.int(1, 100);
    const ids = ints(pick.int(1, 60), () => pick.int(0, v - 1));
    return { shapes: [[v, pick.int(1, 70)]], run: ([table]) => [embedding(table, ids)] };
  },
  causalAttention: (pick) => {
    const sequences = layout(pick);
    const t = sequences.offsets[sequences.offsets.length - 1];
    const kvHeads = pick.int(1, 2);
    const heads = kvHeads * pick.int(1, 3);
    const width = pick.int(1, 40);
    const window = pick.of(0, 0, pick.int(1, 100));
    return {
      shapes: [[t, heads, width], [t, kvHeads, width], [t, kvHeads, width]],
      run: ([q, k, v]) => [causalAttention(q, k, v, sequences, { scale: width ** -0.5, ...(window > 0 && { window }) })],
    };
  },
  tokenOutputs: (pick) => {
    const [a, d, v] = [pick.int(1, 50), pick.int(1, 40), pick.int(2, 300)];
    const targets = ints(a, () => pick.int(0, v - 1));
    const temperature = pick.of(1, 0.7, 1.4);
    const needs = pick.of(['logps'] as const, ['logps', 'entropy'] as const, ['logps', 'entropy', 'sumSquares'] as const, ['logps', 'sumSquares'] as const);
    return {
      shapes: [[a, d], [v, d]],
      run: ([hidden, weight]) => {
        const { logps, entropy, sumSquares } = tokenOutputs(hidden, weight, targets, { temperature, needs });
        return [logps, entropy, sumSquares].filter((x) => x !== undefined);
      },
    };
  },
  tokenDivergence: (pick) => {
    const [a, d, e, v] = [pick.int(1, 50), pick.int(1, 40), pick.int(1, 60), pick.int(2, 1300)];
    const options = { beta: pick.of(0, 0.1, 0.5, 1), temperature: pick.of(1, 0.7, 1.4) };
    const constant = (shape: number[], seed: number) => tensor(Float32Array.from(testNumbers(size(shape), seed)), shape);
    return { shapes: [[a, d], [v, d]], run: ([hidden, weight]) => [tokenDivergence(hidden, weight, constant([a, e], 70), constant([v, e], 71), options)] };
  },
};

const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/** Outputs and gradients of a case on the selected backend. */
function evaluate({ shapes, run }: Case): { name: string; values: Float32Array }[] {
  const before = memory().numTensors;
  const inputs = shapes.map((shape, i) => {
    const initial = tensor(Float32Array.from(testNumbers(size(shape), i)), [...shape]);
    const made = variable(initial);
    initial.dispose();
    return made;
  });
  const tape = record(() => run(inputs));
  const results = tape.outputs.map((output, i) => ({ name: `output ${i}`, values: Float32Array.from(output.dataSync()) }));
  const gradients = tape.outputs.map((output, i) => tensor(Float32Array.from(testNumbers(output.size, 50 + i)), output.shape));
  const found: { name: string; values: Float32Array }[] = [];
  tape.backward(gradients, (parameter, gradient) => {
    found.push({ name: `gradient ${inputs.indexOf(parameter)}`, values: Float32Array.from(gradient.dataSync()) });
    gradient.dispose();
  });
  for (const used of [...inputs, ...gradients]) used.dispose();
  expect(memory().numTensors).toBe(before);
  return [...results, ...found.sort((a, b) => a.name.localeCompare(b.name))];
}

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, what: string, tolerance = 1e-5): void {
  expect(actual.length, what).toBe(expected.length);
  let [scale, worst] = [1, 0];
  for (let i = 0; i < expected.length; i++) {
    scale = Math.max(scale, Math.abs(expected[i]));
    const error = Math.abs(actual[i] - expected[i]);
    worst = error <= worst ? worst : error; // a NaN sticks
  }
  expect(worst, `${what}: worst error`).toBeLessThanOrEqual(tolerance * scale);
}

/** Random shapes an operation; `.ci/run` asks for 200. */
const shapes = Number(process.env.ESPALIER_FUZZ_SHAPES ?? 24);
const status = nativeStatus();
if (!status.available) console.warn(`not checked here: the backend native is not available: ${status.reason}`);

describe.skipIf(!status.available)('native against the portable kernels', () => {
  beforeAll(() => setMatmulPrecision('fp32'));

  async function both<T>(work: () => T): Promise<{ portable: T; native: T }> {
    await selectBackend('cpu');
    const portable = work();
    await selectBackend('native');
    return { portable, native: work() };
  }

  // The gradient of tokenDivergence is p · (ln p - ln m - KL): two softmaxes' rounding in one number, so twice the room of the others. Against float64, at the worst
  // of 200 shapes, each backend is within 1e-5 of the scale, and they are off in opposite directions.
  it.each(Object.keys(operations))(`%s: outputs and gradients of ${shapes} random shapes`, async (name) => {
    for (let seed = 0; seed < shapes; seed++) {
      const { portable, native } = await both(() => evaluate(operations[name](chooser(seed))));
      expect(native.map((result) => result.name)).toEqual(portable.map((result) => result.name));
      native.forEach((result, i) => expectClose(result.values, portable[i].values, `${name}, seed ${seed}, ${result.name}`, name === 'tokenDivergence' ? 2e-5 : 1e-5));
    }
  });

  it.each(['linear', 'tokenOutputs', 'tokenDivergence'])('%s in bf16: near fp32, and not equal to it', async (name) => {
    let different = 0;
    for (let seed = 0; seed < 12; seed++) {
      const { portable, native } = await both(() => {
        setMatmulPrecision('bf16'); // of native alone
        const results = evaluate(operations[name](chooser(seed)));
        setMatmulPrecision('fp32');
        return results;
      });
      native.forEach((result, i) => {
        expectClose(result.values, portable[i].values, `${name}, seed ${seed}, ${result.name}`, 2e-2);
        if (result.values.some((value, j) => Math.abs(value - portable[i].values[j]) > 1e-4)) different++;
      });
    }
    expect(different).toBeGreaterThan(0);
  });

  it(`cachedAttention and cacheWrite on ${shapes} random shapes`, async () => {
    for (let seed = 0; seed < shapes; seed++) {
      const { portable, native } = await both(() => {
        const pick = chooser(seed);
        const [batch, kvHeads, group, width, capacity] = [pick.int(1, 5), pick.int(1, 3), pick.int(1, 3), pick.int(1, 70), pick.int(8, 300)];
        const written = ints(pick.int(1, 6), () => pick.int(0, capacity - 1));
        const half = capacity >> 1;
        const ranges = Int32Array.from(Array.from({ length: batch }, () => {
          const [prefix, own] = [pick.int(0, half), pick.int(1, half)];
          return [pick.int(0, half - prefix), prefix, half + pick.int(0, half - own), own];
        }).flat());
        const make = (n: number, shape: number[]) => tensor(Float32Array.from(testNumbers(size(shape), n)), shape);
        const values = make(1, [written.length, kvHeads, width]);
        const caches = [2, 3].map((n) => {
          const empty = make(n, [capacity, kvHeads * width]);
          const filled = cacheWrite(empty, values, written);
          empty.dispose();
          return filled;
        });
        const q = make(4, [batch, kvHeads * group, width]);
        const out = cachedAttention(q, caches[0], caches[1], ranges, { scale: width ** -0.5, window: pick.of(0, 0, pick.int(1, 60)) });
        const result = [Float32Array.from(caches[0].dataSync()), Float32Array.from(out.dataSync())];
        for (const used of [values, q, out, ...caches]) used.dispose();
        return result;
      });
      native.forEach((values, i) => expectClose(values, portable[i], `seed ${seed}, ${['cache', 'attention'][i]}`));
    }
  });

  it(`adamW, addInPlace and globalNorm on ${shapes} random shapes`, async () => {
    for (let seed = 0; seed < shapes; seed++) {
      const { portable, native } = await both(() => {
        const pick = chooser(seed);
        const shape = [pick.int(1, 40), pick.int(1, 900)];
        const make = (n: number) => tensor(Float32Array.from(testNumbers(size(shape), n)), shape);
        const held = [make(1), make(2), make(3)].map((initial, i) => variable(i === 0 ? initial : residualAdd(initial, initial, -1))); // m and v start at 0
        const grad = make(4);
        const summed = addInPlace(grad, held[0], pick.of(1, -0.4));
        for (let step = 1; step <= 3; step++) {
          adamW({ params: [held[0]], grads: [summed], m: [held[1]], v: [held[2]], learningRate: 0.01, weightDecay: 0.1, step, gradScale: pick.of(1, 0.5) });
        }
        return [...held, summed].map((x) => Float32Array.from(x.dataSync())).concat(Float32Array.of(globalNorm([summed, held[0]])));
      });
      native.forEach((values, i) => expectClose(values, portable[i], `seed ${seed}, ${['param', 'm', 'v', 'sum', 'norm'][i]}`));
    }
  });

  it('sampleTokens: the same tokens on random batches with every filter', async () => {
    for (let seed = 0; seed < Math.max(shapes, 40); seed++) {
      const { portable, native } = await both(() => {
        const pick = chooser(seed);
        const [rows, vocab] = [pick.int(1, 12), pick.int(2, 1200)];
        const spread = pick.of(1, 4, 12);
        const logits = tensor2d(Float32Array.from(testNumbers(rows * vocab, seed), (x) => pick.of(1, 1, 1, 0.5) * Math.round(x * spread * 8) / 8), [rows, vocab]);
        const settings = Array.from({ length: rows }, (_, i): SampleRow => ({
          seed: pick.int(0, 2 ** 31) * 2 ** 20 + i,
          sample: pick.int(0, 9),
          position: pick.int(0, 999),
          temperature: pick.of(0, 1, 0.3, 1.7),
          topK: pick.of(0, 0, 1, 5, 50),
          topP: pick.of(1, 1, 0.1, 0.5, 0.9, 0.999),
          minP: pick.of(0, 0, 0.05, 0.5),
          repetitionPenalty: pick.of(1, 1.3, 0.8),
          history: ints(pick.int(0, 20), () => pick.int(0, vocab - 1)),
        }));
        const drawn = sampleTokens(logits, settings);
        logits.dispose();
        return drawn;
      });
      expect([...native.tokens], `seed ${seed}`).toEqual([...portable.tokens]);
      expectClose(native.logps, portable.logps, `seed ${seed}, logps`, 1e-6);
    }
  });

  it('uses the new numbers of a weight after every way of changing it', async () => {
    const { portable, native } = await both(() => {
      const make = (seed: number, factor = 1) => tensor(Float32Array.from(testNumbers(30, seed), (x) => factor * x), [6, 5]);
      const [w, m, v] = [make(1), make(2, 0), make(3, 0)].map((initial) => variable(initial));
      const x = tensor(Float32Array.from(testNumbers(20, 9)), [4, 5]);
      const results: Float32Array[] = [];
      const use = () => {
        for (let i = 0; i < 3; i++) results.push(Float32Array.from(linear(x, w).dataSync())); // packed, as so few rows ask for
      };
      use();
      adamW({ params: [w], grads: [make(4)], m: [m], v: [v], learningRate: 0.1, step: 1 });
      use();
      const added = addInPlace(w, make(5), 0.5);
      w.assign(added);
      added.dispose();
      use();
      w.assign(make(6));
      use();
      return results;
    });
    native.forEach((values, i) => expectClose(values, portable[i], `use ${i}`));
    expect(native[3]).not.toEqual(native[0]);
    expect(native[6]).not.toEqual(native[3]);
    expect(native[9]).not.toEqual(native[6]);
  });
});
