import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend';
import { EspalierAdaptedLinears, EspalierAdaptedLinearsGrad, EspalierLinears, EspalierLinearsGrad, EspalierLinearsGradX, layersOf, mostLayers } from '../fused-kernels';
import type { AdaptedLinearsAttrs, NumberedInputs } from '../fused-kernels';
import { waitingKernel } from './kernel';
import type { KernelCall } from './kernel';

const counts = Array.from({ length: mostLayers }, (_, i) => i + 1);

function zero(backend: NativeBackend, arrays: readonly Float32Array[]): void {
  backend.settle();
  for (const array of arrays) array.fill(0);
}

/** What both forward passes read of each layer; `precision` is that of the packed weights, where there are any. */
function weightsOf(inputs: NumberedInputs, m: number, backend: NativeBackend) {
  const ws = layersOf(inputs, 'w');
  const packed = ws.map((w) => (m > 0 ? backend.packed(w, w.shape[0], w.shape[1], backend.weightPrecision, m) : null));
  return {
    ws,
    packed,
    floats: ws.map((w) => backend.floats(w)),
    biases: ws.map((_, i) => (inputs[`bias${i}`] ? backend.floats(inputs[`bias${i}`]) : null)),
    precision: packed.some((weight) => weight !== null) ? backend.weightPrecision : backend.precision,
  };
}

function linears({ inputs, backend }: KernelCall<NumberedInputs>): TensorInfo[] {
  const { x } = inputs;
  const [m, k] = x.shape;
  const { ws, packed, floats, biases, precision } = weightsOf(inputs, m, backend);
  const ys = ws.map((w) => backend.output([m, w.shape[0]]));
  if (m > 0) backend.later.linears(ys.map(({ values }) => values), backend.floats(x), floats, packed, biases, m, k, precision);
  return ys.map(({ info }) => info);
}

function adaptedLinears({ inputs, attrs: { scales }, backend }: KernelCall<NumberedInputs, AdaptedLinearsAttrs>): TensorInfo[] {
  const { x } = inputs;
  const [m, k] = x.shape;
  const { ws, packed, floats, biases, precision } = weightsOf(inputs, m, backend);
  const [as, bs] = [layersOf(inputs, 'a'), layersOf(inputs, 'b')];
  const ys = ws.map((w) => backend.output([m, w.shape[0]]));
  const h = backend.output([m, as.reduce((ranks, a) => ranks + a.shape[0], 0)]);
  const each = (tensors: readonly TensorInfo[]) => tensors.map((tensor) => backend.floats(tensor));
  if (m > 0) backend.later.adaptedLinears(ys.map(({ values }) => values), h.values, backend.floats(x), floats, packed, biases, each(as), each(bs), Float64Array.from(scales), m, k, precision);
  return [...ys, h].map(({ info }) => info);
}

export const linearsKernels = [
  ...counts.slice(1).map((count) => waitingKernel<NumberedInputs>(EspalierLinears(count), linears)), // one is `EspalierLinear`
  ...counts.map((count) => waitingKernel<NumberedInputs, AdaptedLinearsAttrs>(EspalierAdaptedLinears(count), adaptedLinears)),
  waitingKernel<NumberedInputs>(EspalierLinearsGradX, ({ inputs, backend }) => {
    const [dys, ws] = [layersOf(inputs, 'dy'), layersOf(inputs, 'w')];
    const [m, k] = [dys[0].shape[0], ws[0].shape[1]];
    const dx = backend.output([m, k]);
    if (m > 0) backend.later.linearsDx(dx.values, dys.map((dy) => backend.floats(dy)), ws.map((w) => backend.floats(w)), m, k, backend.precision);
    return dx.info;
  }),
  waitingKernel<NumberedInputs>(EspalierLinearsGrad, ({ inputs, backend }) => {
    const { x } = inputs;
    const [dys, ws] = [layersOf(inputs, 'dy'), layersOf(inputs, 'w')];
    const [m, k] = x.shape;
    const dx = backend.output([m, k]);
    const dws = ws.map((w) => backend.output([...w.shape]));
    if (m > 0) backend.later.linearsGrad(dx.values, dws.map(({ values }) => values), dys.map((dy) => backend.floats(dy)), backend.floats(x), ws.map((w) => backend.floats(w)), m, k, backend.precision);
    else zero(backend, dws.map(({ values }) => values));
    return [dx, ...dws].map(({ info }) => info);
  }),
  waitingKernel<NumberedInputs, AdaptedLinearsAttrs>(EspalierAdaptedLinearsGrad, ({ inputs, attrs: { scales }, backend }) => {
    const { x, h } = inputs;
    const [dys, ws, as, bs] = ['dy', 'w', 'a', 'b'].map((name) => layersOf(inputs, name));
    const [m, k] = x.shape;
    const dx = backend.output([m, k]);
    const [das, dbs] = [as, bs].map((tensors) => tensors.map(({ shape }) => backend.output([...shape])));
    const each = (tensors: readonly TensorInfo[]) => tensors.map((tensor) => backend.floats(tensor));
    const values = (outputs: typeof das) => outputs.map((output) => output.values);
    if (m > 0) backend.later.adaptedLinearsGrad(dx.values, values(das), values(dbs), each(dys), backend.floats(x), backend.floats(h), each(ws), each(as), each(bs), Float64Array.from(scales), m, k, backend.precision);
    else zero(backend, values([...das, ...dbs]));
    return [dx, ...das, ...dbs].map(({ info }) => info);
  }),
];
