import { _FusedMatMul, Add, BatchMatMul, backend_util, getKernel } from '@tensorflow/tfjs-core';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend';
import { cpuKernel, waitingKernel, sizeOf } from './kernel';

interface MatMulAttrs {
  transposeA: boolean;
  transposeB: boolean;
}

/** `a [..., M, K] · b [..., K, N]`, always in fp32; null where the batches spread over each other, or a size is 0. */
function product(a: TensorInfo, b: TensorInfo, { transposeA, transposeB }: MatMulAttrs, backend: NativeBackend): TensorInfo | null {
  if (a.dtype !== 'float32' || b.dtype !== 'float32' || sizeOf(a.shape) === 0 || sizeOf(b.shape) === 0) return null;
  const [aRows, aColumns] = a.shape.slice(-2);
  const [bRows, bColumns] = b.shape.slice(-2);
  const [m, k] = transposeA ? [aColumns, aRows] : [aRows, aColumns];
  const [kOfB, n] = transposeB ? [bColumns, bRows] : [bRows, bColumns];
  if (k !== kOfB) return null; // the CPU kernel says what does not fit
  const [aBatch, bBatch] = [sizeOf(a.shape.slice(0, -2)), sizeOf(b.shape.slice(0, -2))];
  const outer = backend_util.assertAndGetBroadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2));
  const batch = sizeOf(outer);
  if ((aBatch !== batch && aBatch !== 1) || (bBatch !== batch && bBatch !== 1)) return null;
  const strides = (rows: number, columns: number, transposed: boolean, spread: boolean) => ({
    batch: spread ? 0 : rows * columns,
    row: transposed ? 1 : columns,
    column: transposed ? columns : 1,
  });
  const y = backend.output([...outer, m, n]);
  backend.later.matmul(
    y.values, backend.floats(a), strides(aRows, aColumns, transposeA, aBatch === 1), backend.floats(b), strides(bRows, bColumns, transposeB, bBatch === 1),
    batch, m, n, k, 'fp32', false,
  );
  return y.info;
}

export const matmulKernels = [
  waitingKernel<{ a: TensorInfo; b: TensorInfo }, MatMulAttrs>(BatchMatMul, (call) => product(call.inputs.a, call.inputs.b, call.attrs, call.backend) ?? cpuKernel(BatchMatMul, call)),
  waitingKernel<{ a: TensorInfo; b: TensorInfo; bias?: TensorInfo; preluActivationWeights?: TensorInfo }, MatMulAttrs & { activation: string | null }>(_FusedMatMul, (call) => {
    const { inputs, attrs, backend } = call;
    const plain = attrs.activation === 'linear' || !attrs.activation;
    const y = plain ? product(inputs.a, inputs.b, attrs, backend) : null;
    if (!y) return cpuKernel(_FusedMatMul, call);
    if (!inputs.bias) return y;
    const shifted = getKernel(Add, 'native').kernelFunc({ inputs: { a: y, b: inputs.bias }, attrs: {}, backend }) as TensorInfo;
    backend.disposeIntermediateTensorInfo(y);
    return shifted;
  }),
];
