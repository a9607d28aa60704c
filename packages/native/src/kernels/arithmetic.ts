import { Add, AddN, backend_util, Multiply, RealDiv, Sub } from '@tensorflow/tfjs-core';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import { cpuKernel, sizeOf, waitingKernel } from './kernel';
import type { NativeKernel } from './kernel';

/** How an operand lies against the output seen as `[rows, width]`: all of it, one row for all, one number a row, one number. */
const spreads = { whole: 0, row: 1, column: 2, scalar: 3 };
/** Rows shorter than this are not worth a call into a vector loop each. */
const SHORTEST_ROW = 16;

interface Plan {
  a: number;
  b: number;
  rows: number;
  width: number;
}

const trimmed = (shape: readonly number[]): number[] => shape.slice(shape.findIndex((d) => d !== 1) < 0 ? shape.length : shape.findIndex((d) => d !== 1));

/** How `shape` spreads over `out`, or null where it does so in no simple way. `width` is null where any would do. */
function spread(shape: readonly number[], out: readonly number[]): { kind: number; width: number | null } | null {
  const [size, total] = [sizeOf(shape), sizeOf(out)];
  if (size === total) return { kind: spreads.whole, width: null };
  if (size === 1) return { kind: spreads.scalar, width: null };
  const trailing = trimmed(shape);
  if (trailing.every((d, i) => d === out[out.length - trailing.length + i])) return { kind: spreads.row, width: size };
  const padded = [...Array<number>(out.length - shape.length).fill(1), ...shape];
  let ones = padded.length;
  while (ones > 0 && padded[ones - 1] === 1) ones--;
  if (padded.slice(0, ones).every((d, i) => d === out[i])) return { kind: spreads.column, width: total / size };
  return null;
}

function plan(a: readonly number[], b: readonly number[], out: readonly number[]): Plan | null {
  const [left, right] = [spread(a, out), spread(b, out)];
  if (!left || !right) return null;
  if (left.width !== null && right.width !== null && left.width !== right.width) return null;
  const width = left.width ?? right.width;
  const total = sizeOf(out);
  if (width === null) return { a: left.kind, b: right.kind, rows: 1, width: total };
  return width < SHORTEST_ROW ? null : { a: left.kind, b: right.kind, rows: total / width, width };
}

function binary(kernelName: string, operation: number): NativeKernel {
  return waitingKernel<{ a: TensorInfo; b: TensorInfo }>(kernelName, (call) => {
    const { a, b } = call.inputs;
    const { backend } = call;
    if (a.dtype === 'float32' && b.dtype === 'float32') {
      const shape = backend_util.assertAndGetBroadcastShape(a.shape, b.shape);
      const found = sizeOf(shape) > 0 ? plan(a.shape, b.shape, shape) : null;
      if (found) {
        const y = backend.output(shape);
        backend.later.binary(operation, backend.floats(a), found.a, backend.floats(b), found.b, y.values, found.rows, found.width);
        return y.info;
      }
    }
    return cpuKernel(kernelName, call);
  });
}

/** Of `tensor`: `a + b` and `a + scale * b` of equal shapes, whose gradients keep nothing. */
const EspalierResidualAdd = 'EspalierResidualAdd';
const EspalierScaledAdd = 'EspalierScaledAdd';

export const arithmeticKernels = [
  binary(Add, 0),
  binary(EspalierResidualAdd, 0),
  waitingKernel<{ a: TensorInfo; b: TensorInfo }, { scale: number }>(EspalierScaledAdd, ({ inputs: { a, b }, attrs: { scale }, backend }) => {
    const y = backend.copy(a);
    backend.later.addInPlace(y.values, backend.floats(b), scale);
    return y.info;
  }),
  binary(Sub, 1),
  binary(Multiply, 2),
  binary(RealDiv, 3),
  waitingKernel<TensorInfo[]>(AddN, (call) => {
    const { backend } = call;
    const terms = call.inputs;
    if (terms.length < 2 || terms.some((term) => term.dtype !== 'float32')) return cpuKernel(AddN, call);
    const y = backend.output(terms[0].shape);
    backend.later.binary(0, backend.floats(terms[0]), spreads.whole, backend.floats(terms[1]), spreads.whole, y.values, 1, y.values.length);
    for (const term of terms.slice(2)) backend.later.addInPlace(y.values, backend.floats(term), 1);
    return y.info;
  }),
];
