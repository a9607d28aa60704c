import { EspalierAddInPlace } from '@espalier/native';
import type { AddInPlaceAttrs, AddInPlaceInputs } from '@espalier/native';
import { add, mul } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { backingArray, check, portableKernel, run, sameData } from './kernel';

/**
 * `target + scale * value`, written into `target` where the backend can. Consumes `target`: use the returned tensor, dispose the one that went in.
 * Whoever else holds the data of `target` sees it change.
 */
export function addInPlace(target: Tensor, value: Tensor, scale = 1): Tensor {
  check(target.shape.join() === value.shape.join(), 'addInPlace', () => `[${target.shape}] and [${value.shape}] differ`);
  return run(EspalierAddInPlace, { target, value }, { scale } satisfies AddInPlaceAttrs);
}

portableKernel<AddInPlaceInputs, AddInPlaceAttrs>(EspalierAddInPlace, ({ target, value }, { scale }) => {
  const into = backingArray(target);
  const from = into && backingArray(value);
  if (!into || !from) return add(target, scale === 1 ? value : mul(value, scale));
  for (let i = 0; i < into.length; i++) into[i] += scale * from[i];
  return sameData(target);
});
