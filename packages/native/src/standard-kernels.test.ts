import { _FusedMatMul, Add, AddN, BatchMatMul, Concat, engine, GatherV2, Max, Mean, Multiply, RealDiv, setBackend, Slice, Sub, Sum, tensor, Transpose } from '@tensorflow/tfjs-core';
import type { NamedAttrMap, NamedTensorMap, Tensor } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { nativeStatus, registerNativeBackend } from './index';

/**
 * The standard kernels that Rust replaces, against those of TensorFlow.js's CPU backend. Their gradients are made of the same kernels
 * (tools/tfjs-suite checks those); the fused kernels are compared, with gradients, in packages/tensor/src/native-parity.test.ts.
 */
/** Random shapes a kernel; `.ci/run` asks for 200. */
const shapes = Number(process.env.ESPALIER_FUZZ_SHAPES ?? 20);
const status = nativeStatus();
if (!status.available) console.warn(`not checked here: ${status.reason}`);

function chooser(seed: number) {
  let state = (Math.imul(seed + 1, 0x9e3779b1) ^ 0x2545f491) >>> 0;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return { int: (from: number, to: number) => from + Math.floor(next() * (to - from + 1)), of: <T>(...choices: T[]): T => choices[Math.floor(next() * choices.length)], number: () => next() * 3 - 1.5 };
}
type Chooser = ReturnType<typeof chooser>;

interface Call {
  inputs: readonly (readonly number[] | Int32Array)[];
  names: readonly string[] | null; // null: a list of inputs
  attrs: object;
}

const dims = (pick: Chooser, rank: number, largest = 24) => Array.from({ length: rank }, () => pick.of(1, pick.int(1, largest)));

function broadcast(pick: Chooser): Call {
  const out = dims(pick, pick.int(1, 4));
  const operand = () => {
    const shape = out.map((d) => pick.of(d, d, 1));
    return pick.of(out, out, shape, shape.slice(pick.int(0, shape.length)), [], out.slice(-1), out.map((d, i) => (i < out.length / 2 ? d : 1)));
  };
  return { inputs: [operand(), operand()], names: ['a', 'b'], attrs: {} };
}

function matmul(pick: Chooser): Call {
  const [m, n, k] = [pick.int(1, 40), pick.int(1, 40), pick.int(1, 40)];
  const [transposeA, transposeB] = [pick.of(true, false), pick.of(true, false)];
  const batch = dims(pick, pick.int(1, 2), 4);
  const outer = () => pick.of(batch, batch, batch.map(() => 1), batch.map((d, i) => (i === 0 ? 1 : d)));
  return { inputs: [[...outer(), ...(transposeA ? [k, m] : [m, k])], [...outer(), ...(transposeB ? [n, k] : [k, n])]], names: ['a', 'b'], attrs: { transposeA, transposeB } };
}

function reduction(pick: Chooser, name: string): Call {
  const shape = dims(pick, pick.int(1, 4), 40);
  const axes = shape.map((_, i) => i).filter(() => pick.of(true, false));
  return { inputs: [shape], names: ['x'], attrs: { [name]: axes.length > 0 ? axes : [shape.length - 1], keepDims: pick.of(true, false) } };
}

const kernels: Record<string, (pick: Chooser) => Call> = {
  [Add]: broadcast,
  [Sub]: broadcast,
  [Multiply]: broadcast,
  [RealDiv]: broadcast,
  [AddN]: (pick) => {
    const shape = dims(pick, pick.int(1, 3), 60);
    return { inputs: Array.from({ length: pick.int(1, 5) }, () => shape), names: null, attrs: {} };
  },
  [BatchMatMul]: matmul,
  [_FusedMatMul]: (pick) => {
    const call = matmul(pick);
    const b = call.inputs[1] as number[];
    const n = (call.attrs as { transposeB: boolean }).transposeB ? b[b.length - 2] : b[b.length - 1];
    const bias = pick.of(true, false);
    return { inputs: bias ? [...call.inputs, [n]] : call.inputs, names: ['a', 'b', 'bias'].slice(0, bias ? 3 : 2), attrs: { ...call.attrs, activation: pick.of('linear', 'relu', 'linear') } };
  },
  [Sum]: (pick) => reduction(pick, 'axis'),
  [Mean]: (pick) => reduction(pick, 'axis'),
  [Max]: (pick) => reduction(pick, 'reductionIndices'),
  [Transpose]: (pick) => {
    const shape = dims(pick, pick.int(1, 4), 40);
    const perm = shape.map((_, i) => i);
    for (let i = perm.length - 1; i > 0; i--) {
      const j = pick.int(0, i);
      [perm[i], perm[j]] = [perm[j], perm[i]];
    }
    return { inputs: [shape], names: ['x'], attrs: { perm } };
  },
  [Slice]: (pick) => {
    const shape = dims(pick, pick.int(1, 4), 30);
    const begin = shape.map((d) => pick.of(0, pick.int(0, d - 1)));
    return { inputs: [shape], names: ['x'], attrs: { begin, size: shape.map((d, i) => pick.of(d - begin[i], -1, pick.int(0, d - begin[i]))) } };
  },
  [Concat]: (pick) => {
    const shape = dims(pick, pick.int(1, 4), 20);
    const axis = pick.int(0, shape.length - 1);
    return { inputs: Array.from({ length: pick.int(1, 4) }, () => shape.map((d, i) => (i === axis ? pick.int(0, 9) : d))), names: null, attrs: { axis } };
  },
  [GatherV2]: (pick) => {
    const shape = dims(pick, pick.int(1, 3), 30);
    const axis = pick.of(0, 0, pick.int(0, shape.length - 1));
    return { inputs: [shape, Int32Array.from({ length: pick.int(1, 20) }, () => pick.int(0, shape[axis] - 1))], names: ['x', 'indices'], attrs: { axis, batchDims: 0 } };
  },
};

function evaluate(kernel: string, seed: number): { shape: number[]; dtype: string; values: number[] } {
  const pick = chooser(seed);
  const call = kernels[kernel](pick);
  const tensors = call.inputs.map((input) =>
    input instanceof Int32Array ? tensor(input, [input.length], 'int32') : tensor(Float32Array.from({ length: input.reduce((a, b) => a * b, 1) }, () => pick.number() || 1), [...input]),
  );
  const named = call.names ? Object.fromEntries(call.names.map((name, i) => [name, tensors[i]])) : tensors;
  const result = engine().runKernel(kernel, named as unknown as NamedTensorMap, call.attrs as NamedAttrMap) as Tensor;
  const found = { shape: result.shape, dtype: result.dtype, values: [...result.dataSync()] };
  [result, ...tensors].forEach((x) => x.dispose());
  return found;
}

describe.skipIf(!status.available)('standard kernels in Rust, against the CPU backend', () => {
  beforeAll(() => void registerNativeBackend());

  it.each(Object.keys(kernels))(`%s on ${shapes} random shapes`, async (kernel) => {
    for (let seed = 0; seed < shapes; seed++) {
      await setBackend('cpu');
      const expected = evaluate(kernel, seed);
      await setBackend('native');
      const actual = evaluate(kernel, seed);
      expect({ ...actual, values: [] }, `seed ${seed}`).toEqual({ ...expected, values: [] });
      expect(actual.values.length).toBe(expected.values.length);
      const scale = expected.values.reduce((largest, x) => Math.max(largest, Math.abs(x)), 1);
      const wrong = expected.values.findIndex((value, i) => !(Math.abs(actual.values[i] - value) <= 1e-5 * scale));
      expect(wrong, `seed ${seed}, [${wrong}]: ${actual.values[wrong]} for ${expected.values[wrong]}`).toBe(-1);
    }
  });
});
