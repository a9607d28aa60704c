import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend';
import type { PackedWeight, WeightPrecision } from '../binding';
import { EspalierDecodeBlocks } from '../fused-kernels';
import type { DecodeBlocksAttrs, DecodeBlocksInputs } from '../fused-kernels';
import type { DecodeBlocksAdapter } from '../kernel-functions';
import { cacheFormat } from './attention';
import { waitingKernel } from './kernel';

/** The parameters of blocks, as the binding takes them. */
interface Given {
  norms: (Float32Array | null)[];
  weights: PackedWeight[];
  biases: (Float32Array | null)[];
  adapted: DecodeBlocksAdapter[];
  pairs: PackedWeight[];
  windows: Uint32Array;
}

function lookUp(blocks: DecodeBlocksAttrs['blocks'], backend: NativeBackend): Given {
  const found: Given = { norms: [], weights: [], biases: [], adapted: [], pairs: [], windows: Uint32Array.from(blocks, ({ window }) => window ?? 0) };
  const { norms, weights, biases, adapted, pairs } = found;
  const floats = (tensor: TensorInfo | undefined) => (tensor ? backend.floats(tensor) : null);
  for (const block of blocks) {
    norms.push(...normsOf(block).map(floats));
    for (const { weight, bias, adapter } of layersOf(block)) {
      if (adapter) {
        adapted.push({ weight: weights.length, scale: adapter.scale });
        pairs.push(backend.packedNow(adapter.a), backend.packedNow(adapter.b));
      }
      weights.push(backend.packedNow(weight));
      biases.push(floats(bias));
    }
  }
  return found;
}

type Block = DecodeBlocksAttrs['blocks'][number];
const normsOf = ({ attentionNorm, mlpNorm, qNorm, kNorm }: Block) => [attentionNorm, mlpNorm, qNorm, kNorm];
const layersOf = ({ q, k, v, o, gate, up, down }: Block) => [q, k, v, o, gate, up, down];

/** An adapter, and its scale when it was looked up. */
interface Scaled {
  adapter: { scale: number };
  scale: number;
}

/** What was looked up, and what it holds for: the adapters with their scales, the tensors with their data, a state of the packed weights, and a precision. */
interface Known {
  given: Given;
  scales: readonly Scaled[];
  tensors: readonly TensorInfo[];
  dataIds: readonly object[];
  changes: number;
  precision: WeightPrecision;
}

/**
 * What was looked up for these very blocks: a step of decoding looks up hundreds of tensors, and none has changed since the step before. Variables may have other
 * data now, as after an exchange of weights with their average, and then it is looked up again.
 */
const known = new WeakMap<object, Known>();

const isAsItWas = ({ tensors, dataIds, scales }: Known) => tensors.every(({ dataId }, i) => dataId === dataIds[i]) && scales.every(({ adapter, scale }) => adapter.scale === scale);

function givenFor(blocks: DecodeBlocksAttrs['blocks'], backend: NativeBackend): Given {
  const last = known.get(blocks);
  if (last && last.changes === backend.weights.changes && last.precision === backend.weightPrecision && isAsItWas(last)) return last.given;
  const given = lookUp(blocks, backend);
  const all = blocks.flatMap((block) => [...normsOf(block), ...layersOf(block).flatMap(({ weight, bias, adapter }) => [weight, bias, adapter?.a, adapter?.b])]);
  const tensors = all.filter((tensor) => tensor !== undefined);
  // Packing counts as a change, so that the count is taken last.
  const scales = blocks.flatMap((block) => layersOf(block).flatMap(({ adapter }) => (adapter ? [{ adapter, scale: adapter.scale }] : [])));
  known.set(blocks, { given, scales, tensors, dataIds: tensors.map(({ dataId }) => dataId as object), changes: backend.weights.changes, precision: backend.weightPrecision });
  return given;
}

const nowhere = new Int32Array(0);

export const decodeBlocksKernels = [
  waitingKernel<DecodeBlocksInputs, DecodeBlocksAttrs>(EspalierDecodeBlocks, ({ inputs: { x }, attrs, backend }) => {
    const { blocks, caches, heads, kvHeads, eps, scale, positions, invFreq, rotaryScaling, rows, ranges, kept } = attrs;
    const y = backend.copy(x);
    if (blocks.length === 0) return y.info;
    const { norms, weights, biases, windows, adapted, pairs } = givenFor(blocks, backend);
    const { format, width } = cacheFormat(caches[0].k, backend);
    const shape = { heads, kvHeads, dim: width / kvHeads, eps, scale, rotaryScaling, format };
    const stored = caches.flatMap(({ k, v }) => [backend.words(k), backend.words(v)]);
    const keeping = kept ? kept.arrays.map((array) => backend.floats(array)) : [];
    backend.later.decodeBlocks(y.values, norms, weights, biases, positions, invFreq, stored, rows, ranges, windows, shape, adapted, pairs, keeping, kept?.rows ?? nowhere);
    return y.info;
  }),
];
