import { nativeBackend } from '@espalier/native';
import { engine } from '@tensorflow/tfjs-core';

/**
 * Runs `body`, which does not wait for anything, and on `native` lets the kernels that it calls run in a row, when somebody reads a number or `body` returns: what JavaScript does
 * between them is then done while its code and objects are in the processor's caches. Results are the same. Arrays that an operation was given must not be written to before `body` returns.
 * @example
 * const logps = together(() => forward(batch).dataSync());
 */
export function together<T>(body: () => T): T {
  const native = engine().backendName === 'native' ? nativeBackend() : null;
  return native ? native.together(body) : body();
}
