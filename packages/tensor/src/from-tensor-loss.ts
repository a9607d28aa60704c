import type { Coupling, Evaluation, Objective, OutputName, Outputs, TokenBatch } from '@espalier/spec';
import { EspalierError } from '@espalier/spec';
import { engine, reshape, tensor1d, tidy } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import './tfjs';

/** A loss in tfjs ops: outputs and columns are `[A]`; the result is a scalar, already divided by `batch.normalizer`. */
export type TensorLoss = (outputs: Readonly<Record<string, Tensor>>, columns: Readonly<Record<string, Tensor>>, batch: TokenBatch) => Tensor;

/**
 * Makes an {@link Objective} of a loss that is written with tfjs ops; its derivative comes from tfjs. It runs on this thread's backend.
 * @param options.needs the outputs that the loss reads
 * @param options.coupling what micro-batching may not split. Default `token`
 * @throws EspalierError `internal` when the loss is not a scalar, or is not finite
 * @example
 * const objective = fromTensorLoss('weighted-nll', { needs: ['logps'] }, ({ logps }, { weights }, batch) =>
 *   div(neg(sum(mul(logps, weights))), batch.normalizer.tokens));
 */
export function fromTensorLoss(name: string, options: { needs: readonly OutputName[]; coupling?: Coupling }, loss: TensorLoss): Objective {
  return {
    specVersion: 'v1',
    name,
    needs: options.needs,
    coupling: options.coupling ?? 'token',
    evaluate(outputs, batch) {
      let evaluation!: Evaluation;
      tidy(() => {
        const inputs = options.needs.map((need) => {
          const values = outputs[need];
          if (!values) throw new EspalierError('internal', `${name} needs the output "${need}", which the learner did not give`);
          return tensor1d(values);
        });
        const columns = Object.fromEntries(Object.entries(batch.columns).map(([key, values]) => [key, tensor1d(values)]));
        const compute = () => {
          const value = loss(Object.fromEntries(options.needs.map((need, i) => [need, inputs[i]])), columns, batch);
          if (value.size !== 1) throw new EspalierError('internal', `${name} gave a loss of shape [${value.shape}], not a scalar`);
          return value.rank === 0 ? value : reshape(value, []);
        };
        const { value, grads } = engine().gradients(compute as never, inputs, undefined, true);
        const total = (value as Tensor).dataSync()[0];
        if (!Number.isFinite(total)) throw new EspalierError('internal', `${name} gave the loss ${total}`);
        const gradients: Outputs = {};
        options.needs.forEach((need, i) => {
          if (grads[i]) gradients[need] = Float32Array.from(grads[i].dataSync());
        });
        evaluation = { loss: total, grads: gradients, metrics: {} }; // not returned: `tidy` would look for tensors in it, number by number
      });
      return evaluation;
    },
  };
}
