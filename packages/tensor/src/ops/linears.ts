import { EspalierAdaptedLinears, EspalierAdaptedLinearsGrad, EspalierLinear, EspalierLinearGradBias, EspalierLinears, EspalierLinearsGrad, EspalierLinearsGradX, layersOf, mostLayers, numbered } from '@espalier/native';
import type { AdaptedLinearsAttrs } from '@espalier/native';
import { add, addN, concat, matMul, mul, split } from '@tensorflow/tfjs-core';
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import { check, fusedGradient, portableKernel, run, runKnown, sharedGradients } from './kernel';
import { isFrozen, linear } from './linear';
import { residualAdd } from './residual-add';

/** A low-rank adapter of a linear layer: `a [r, K]`, `b [N, r]`; `scale` is LoRA's `alpha / r`. */
export interface LowRankAdapter {
  a: Tensor;
  b: Tensor;
  scale: number;
}

/** A linear layer: `weight [N, K]`, `bias [N]`, and a low-rank adapter where it has one. */
export interface LinearLayer {
  weight: Tensor;
  bias?: Tensor | undefined;
  adapter?: LowRankAdapter | undefined;
}

/** A layer whose weight and bias are frozen, beside an adapter. */
type AdaptedLayer = LinearLayer & { adapter: LowRankAdapter };

/**
 * Linear layers of one input: `yᵢ = x wᵢᵀ + biasᵢ`, with `scaleᵢ · (x aᵢᵀ) bᵢᵀ` added where a layer has an adapter (Hu et al. 2021, eq. 3). Layers that are alike, all trained, all frozen, or
 * all frozen beside an adapter, are computed by one kernel, which reads `x` once, and so is their gradient for `x`. To the bit what each gives alone.
 * @param x `[T, K]`
 * @param known what each gives, where that is known: they are then recorded, and not computed. Not for layers with adapters
 * @returns `[T, Nᵢ]` for each layer
 * @throws EspalierError `internal` when shapes do not fit
 * @example
 * const [gate, up] = linears(x, [{ weight: gateWeight }, { weight: upWeight }]);
 */
export function linears(x: Tensor, layers: readonly LinearLayer[], known?: readonly Tensor[]): Tensor[] {
  for (const layer of layers) checkLayer(x, layer);
  check(!known || (known.length === layers.length && layers.every(({ adapter }) => !adapter)), 'linears', () => `${known?.length} known outputs do not fit ${layers.length} layers without adapters`);
  if (layers.length <= mostLayers && layers.every(isAdapted)) return besideFrozen(x, layers);
  const frozen = layers.map(({ weight, bias }) => isFrozen(weight) && (!bias || isFrozen(bias)));
  const alike = layers.length > 1 && layers.length <= mostLayers && layers.every(({ adapter }, i) => !adapter && frozen[i] === frozen[0]);
  if (!alike) return layers.map((layer, i) => alone(x, layer, known?.[i]));
  const name = frozen[0] ? EspalierFrozenLinears(layers.length) : EspalierLinears(layers.length);
  return known ? runKnown(name, inputsOf(x, layers), {}, known) : run<Tensor[]>(name, inputsOf(x, layers));
}

function checkLayer(x: Tensor, { weight, adapter }: LinearLayer): void {
  check(x.rank === 2 && weight.rank === 2 && x.shape[1] === weight.shape[1], 'linears', () => `x [${x.shape}] and w [${weight.shape}] do not share their last dimension`);
  if (!adapter) return;
  const { a, b } = adapter;
  check(a.rank === 2 && b.rank === 2 && a.shape[1] === x.shape[1] && b.shape[0] === weight.shape[0] && a.shape[0] === b.shape[1], 'linears', () => `a [${a.shape}] and b [${b.shape}] do not adapt a weight [${weight.shape}]`);
}

const isAdapted = (layer: LinearLayer): layer is AdaptedLayer => layer.adapter !== undefined && isFrozen(layer.weight) && (!layer.bias || isFrozen(layer.bias));

function alone(x: Tensor, layer: LinearLayer, known: Tensor | undefined): Tensor {
  if (isAdapted(layer)) return besideFrozen(x, [layer])[0];
  const { weight, bias, adapter } = layer;
  const y = linear(x, weight, bias, known);
  return adapter ? residualAdd(y, linear(linear(x, adapter.a), adapter.b), adapter.scale) : y;
}

const inputsOf = (x: Tensor, layers: readonly LinearLayer[]) => ({ x, ...numbered('w', layers.map(({ weight }) => weight)), ...numbered('bias', layers.map(({ bias }) => bias)) });

/** Layers with adapters, and no gradient for weights and biases. */
export function besideFrozen(x: Tensor, layers: readonly AdaptedLayer[]): Tensor[] {
  const adapters = layers.map(({ adapter }) => adapter);
  const inputs = { ...inputsOf(x, layers), ...numbered('a', adapters.map(({ a }) => a)), ...numbered('b', adapters.map(({ b }) => b)) };
  const outputs = run<Tensor[]>(EspalierAdaptedLinears(layers.length), inputs, { scales: adapters.map(({ scale }) => scale) } satisfies AdaptedLinearsAttrs);
  outputs[layers.length].dispose(); // h: the tape keeps its own
  return outputs.slice(0, layers.length);
}

/** The same as `EspalierLinears` where nothing of the layers is trained: their input need not be kept for the backward pass. */
const EspalierFrozenLinears = (layers: number) => `EspalierFrozenLinears${layers}`;

type Inputs = Record<string, Tensor>;

/** `w0`, `w1`, … of so many layers. */
const names = (count: number, ...of: string[]) => of.flatMap((name) => Array.from({ length: count }, (_, i) => `${name}${i}`));

for (let count = 2; count <= mostLayers; count++) {
  portableKernel<Inputs>(EspalierLinears(count), (inputs) => layersOf(inputs, 'w').map((w, i) => run<Tensor>(EspalierLinear, { x: inputs.x, w, bias: inputs[`bias${i}`] })));
  fusedGradient(EspalierLinears(count), { inputsToSave: ['x', ...names(count, 'w')] }, (dys, [x, ...ws]) => {
    const gradient = sharedGradients(() => run<Tensor[]>(EspalierLinearsGrad, { x, ...numbered('dy', dys), ...numbered('w', ws) }));
    return { x: gradient(0), ...numbered('w', ws.map((_, i) => gradient(1 + i))), ...numbered('bias', dys.map((dy) => () => run(EspalierLinearGradBias, { dy }))) };
  });

  portableKernel<Inputs>(EspalierFrozenLinears(count), (inputs) => run<Tensor[]>(EspalierLinears(count), inputs));
  fusedGradient(EspalierFrozenLinears(count), { inputsToSave: names(count, 'w') }, (dys, ws) => ({ x: () => run(EspalierLinearsGradX, { ...numbered('dy', dys), ...numbered('w', ws) }) }));
}

for (let count = 1; count <= mostLayers; count++) {
  portableKernel<Inputs, AdaptedLinearsAttrs>(EspalierAdaptedLinears(count), (inputs, { scales }) => {
    const [ws, as, bs] = ['w', 'a', 'b'].map((name) => layersOf(inputs, name));
    const hs = as.map((a, i) => mul(matMul(inputs.x as Tensor2D, a as Tensor2D, false, true), scales[i]) as Tensor2D);
    const ys = ws.map((w, i) => add(linear(inputs.x, w, inputs[`bias${i}`]), matMul(hs[i], bs[i] as Tensor2D, false, true)));
    return [...ys, concat(hs, 1)];
  });
  const saves = { inputsToSave: ['x', ...names(count, 'w', 'a', 'b')], outputsToSave: [...names(count, 'y').map(() => false), true], dys: count };
  fusedGradient<AdaptedLinearsAttrs>(EspalierAdaptedLinears(count), saves, (dys, [x, ...saved], attrs) => {
    const [ws, as, bs] = [0, 1, 2].map((part) => saved.slice(part * count, (part + 1) * count));
    const inputs = { x, h: saved[3 * count], ...numbered('dy', dys.slice(0, count)), ...numbered('w', ws), ...numbered('a', as), ...numbered('b', bs) };
    const gradient = sharedGradients(() => run<Tensor[]>(EspalierAdaptedLinearsGrad, inputs, attrs));
    return { x: gradient(0), ...numbered('a', as.map((_, i) => gradient(1 + i))), ...numbered('b', bs.map((_, i) => gradient(1 + count + i))) };
  });
}

const gradX = (dys: readonly Tensor[], ws: readonly Tensor[]) => addN(dys.map((dy, i) => matMul(dy as Tensor2D, ws[i] as Tensor2D)));

portableKernel<Inputs>(EspalierLinearsGradX, (inputs) => gradX(layersOf(inputs, 'dy'), layersOf(inputs, 'w')));

portableKernel<Inputs>(EspalierLinearsGrad, ({ x, ...inputs }) => {
  const dys = layersOf(inputs, 'dy');
  return [gradX(dys, layersOf(inputs, 'w')), ...dys.map((dy) => matMul(dy as Tensor2D, x as Tensor2D, true, false))];
});

portableKernel<Inputs, AdaptedLinearsAttrs>(EspalierAdaptedLinearsGrad, ({ x, h, ...inputs }, { scales }) => {
  const [dys, ws, as, bs] = ['dy', 'w', 'a', 'b'].map((name) => layersOf(inputs, name) as Tensor2D[]);
  const hs = split(h as Tensor2D, as.map((a) => a.shape[0]), 1);
  const gs = dys.map((dy, i) => mul(matMul(dy, bs[i]), scales[i]) as Tensor2D);
  const dxs = dys.flatMap((dy, i) => [matMul(dy, ws[i]), matMul(gs[i], as[i])]);
  return [addN(dxs), ...gs.map((g) => matMul(g, x as Tensor2D, true, false)), ...dys.map((dy, i) => matMul(dy, hs[i], true, false))];
});
