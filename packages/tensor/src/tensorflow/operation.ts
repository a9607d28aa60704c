import { engine } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';

/** The part of tfjs-node's backend that runs an operation of TensorFlow by its name. */
interface TensorflowBackend {
  binding: { TF_ATTR_TYPE: number; TF_FLOAT: number; TF_INT32: number };
  executeMultipleOutputs(name: string, attrs: readonly { name: string; type: number; value: number }[], inputs: readonly Tensor[], outputs: number): Tensor[];
}

/**
 * Runs one of TensorFlow's own operations, inside a kernel of the backend `tensorflow`.
 * @param types its type attributes, by TensorFlow's names
 * @example
 * const [half] = runOperation('L2Loss', [x], { T: 'float32' });
 */
export function runOperation(name: string, inputs: readonly Tensor[], types: Readonly<Record<string, 'float32' | 'int32'>>, outputs = 1): Tensor[] {
  const backend = engine().backend as unknown as TensorflowBackend;
  const { TF_ATTR_TYPE: type, TF_FLOAT, TF_INT32 } = backend.binding;
  const attrs = Object.entries(types).map(([key, of]) => ({ name: key, type, value: of === 'float32' ? TF_FLOAT : TF_INT32 }));
  return backend.executeMultipleOutputs(name, attrs, inputs, outputs);
}
