import { EspalierAdamW, EspalierAdamWTogether, EspalierSquaredNorm, EspalierZerosTogether } from '@espalier/native';
import type { AdamWAttrs, AdamWInputs, AdamWTogetherAttrs, ZerosTogetherAttrs } from '@espalier/native';
import { add, addN, div, engine, getKernel, mul, scalar, sqrt, square, sub, sum, tidy, zeros } from '@tensorflow/tfjs-core';
import type { Tensor, Variable } from '@tensorflow/tfjs-core';
import { backingArray, check, portableKernel, run, sameData } from './kernel';

export interface AdamWOptions {
  params: readonly Variable[];
  /** Not disposed. */
  grads: readonly Tensor[];
  /** First moments, zeros before the first step. */
  m: readonly Variable[];
  /** Second moments, zeros before the first step. */
  v: readonly Variable[];
  /** One for all, or one a parameter. */
  learningRate: number | readonly number[];
  /** Default 0.9. */
  beta1?: number;
  /** Default 0.999. */
  beta2?: number;
  /** Default 1e-8. */
  eps?: number;
  /** Decoupled; one for all, or one a parameter. Default 0. */
  weightDecay?: number | readonly number[];
  /** Counts from 1. */
  step: number;
  /** Gradients are multiplied by it first: clipping by norm costs no pass of its own. Default 1. */
  gradScale?: number;
}

/**
 * One step of AdamW on every parameter, in place where the backend can (Loshchilov & Hutter 2019, algorithm 2, in `torch.optim.AdamW`'s order).
 * @example
 * adamW({ params, grads, m, v, learningRate: 1e-4, weightDecay: 0.01, step: 1 });
 */
export function adamW(options: AdamWOptions): void {
  const { params, grads, m, v, learningRate, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weightDecay = 0, step, gradScale = 1 } = options;
  check(params.length === grads.length && params.length === m.length && params.length === v.length, 'adamW', () => 'params, grads, m and v differ in length');
  params.forEach((param, i) => check(param.shape.join() === grads[i].shape.join(), 'adamW', () => `parameter ${i} is [${param.shape}], its gradient [${grads[i].shape}]`));
  const ofEach = (value: number | readonly number[]) => (typeof value === 'number' ? params.map(() => value) : value);
  const [learningRates, weightDecays] = [ofEach(learningRate), ofEach(weightDecay)];
  if (isHere(EspalierAdamWTogether)) {
    run<Tensor[]>(EspalierAdamWTogether, {}, { params, grads, m, v, learningRates, weightDecays, beta1, beta2, eps, step, gradScale } satisfies AdamWTogetherAttrs);
    return;
  }
  params.forEach((param, i) => {
    const attrs: AdamWAttrs = { learningRate: learningRates[i], beta1, beta2, eps, weightDecay: weightDecays[i], step, gradScale };
    const updated = run<Tensor[]>(EspalierAdamW, { param, grad: grads[i], m: m[i], v: v[i] }, attrs);
    [param, m[i], v[i]].forEach((target, j) => {
      target.assign(updated[j]);
      updated[j].dispose();
    });
  });
}

const isHere = (kernel: string) => getKernel(kernel, engine().backendName) !== undefined;

/**
 * Zeros that live long, as an optimiser's moments do: on `native` they lie side by side in large pages, and take memory when they are first written. Their memory is
 * free again when all of them are disposed.
 */
export function zerosTogether(shapes: readonly number[][]): Tensor[] {
  return isHere(EspalierZerosTogether) ? run<Tensor[]>(EspalierZerosTogether, {}, { shapes } satisfies ZerosTogetherAttrs) : shapes.map((shape) => zeros(shape));
}

/** `Σ x²` over all tensors, square root: the norm that gradients are clipped by. Reads one number back. */
export function globalNorm(tensors: readonly Tensor[]): number {
  if (tensors.length === 0) return 0;
  return Math.sqrt(tidy(() => run<Tensor>(EspalierSquaredNorm, tensors).dataSync()[0]));
}

portableKernel<Record<string, Tensor>>(EspalierSquaredNorm, (tensors) => {
  const sums = Object.values(tensors).map((x) => {
    const values = backingArray(x);
    if (!values) return sum(square(x));
    let total = 0;
    for (let i = 0; i < values.length; i++) total += values[i] * values[i];
    return scalar(total);
  });
  return addN(sums);
});

portableKernel<AdamWInputs, AdamWAttrs>(EspalierAdamW, ({ param, grad, m, v }, a) => {
  const correction1 = 1 - a.beta1 ** a.step;
  const correction2 = Math.sqrt(1 - a.beta2 ** a.step);
  const [p, g, first, second] = [param, grad, m, v].map(backingArray);
  if (p && g && first && second) {
    const decay = 1 - a.learningRate * a.weightDecay;
    const stepSize = a.learningRate / correction1;
    for (let i = 0; i < p.length; i++) {
      const gi = a.gradScale * g[i];
      first[i] = a.beta1 * first[i] + (1 - a.beta1) * gi;
      second[i] = a.beta2 * second[i] + (1 - a.beta2) * gi * gi;
      p[i] = decay * p[i] - (stepSize * first[i]) / (Math.sqrt(second[i]) / correction2 + a.eps);
    }
    return [sameData(param), sameData(m), sameData(v)];
  }
  // Each intermediate goes as soon as it is used: they are as large as the parameter.
  const newM = tidy(() => add(mul(m, a.beta1), mul(grad, (1 - a.beta1) * a.gradScale)));
  const newV = tidy(() => add(mul(v, a.beta2), tidy(() => mul(square(tidy(() => mul(grad, a.gradScale))), 1 - a.beta2))));
  const denominator = tidy(() => add(tidy(() => div(sqrt(newV), correction2)), a.eps));
  const update = tidy(() => div(mul(newM, a.learningRate / correction1), denominator));
  denominator.dispose();
  return [tidy(() => sub(mul(param, 1 - a.learningRate * a.weightDecay), update)), newM, newV];
});
