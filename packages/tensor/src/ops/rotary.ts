import { EspalierRotary } from '@espalier/native';
import type { RotaryAttrs, RotaryInputs } from '@espalier/native';
import { add, concat, mul, slice, sub, tensor } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { check, dims, fusedGradient, portableKernel, run } from './kernel';

/**
 * Rotary position embedding with split halves, as Hugging Face checkpoints want it (Su et al. 2021): with `a = positions[t] * invFreq[i]`,
 * `y[i] = x[i] cos a - x[i + h] sin a` and `y[i + h] = x[i + h] cos a + x[i] sin a`, `h = invFreq.length`. What lies beyond `2 h` passes through.
 * @param x `[T, H, Dh]`
 * @param positions `[T]`
 * @param invFreq at most `Dh / 2` frequencies
 * @param scaling factor of cosine and sine (YaRN's attention factor). Default 1
 */
export function rotary(x: Tensor, positions: Int32Array, invFreq: Float32Array, scaling = 1): Tensor {
  check(x.rank === 3 && x.shape[0] === positions.length && invFreq.length * 2 <= dims(x)[2], 'rotary', () => `x [${x.shape}] does not fit ${positions.length} positions and ${invFreq.length} frequencies`);
  return run(EspalierRotary, { x }, { positions, invFreq, inverse: false, scaling } satisfies RotaryAttrs);
}

portableKernel<RotaryInputs, RotaryAttrs>(EspalierRotary, ({ x }, { positions, invFreq, inverse, scaling = 1 }) => {
  const [rows, heads, width] = dims(x);
  const half = invFreq.length;
  const cos = new Float32Array(rows * half);
  const sin = new Float32Array(rows * half);
  for (let t = 0; t < rows; t++) {
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(positions[t] * invFreq[i]); // in float32, as transformers computes it
      cos[t * half + i] = Math.cos(angle) * scaling;
      sin[t * half + i] = Math.sin(angle) * (inverse ? -scaling : scaling);
    }
  }
  const c = tensor(cos, [rows, 1, half]);
  const s = tensor(sin, [rows, 1, half]);
  const a = slice(x, [0, 0, 0], [rows, heads, half]);
  const b = slice(x, [0, 0, half], [rows, heads, half]);
  const parts = [sub(mul(a, c), mul(b, s)), add(mul(b, c), mul(a, s))];
  if (width > 2 * half) parts.push(slice(x, [0, 0, 2 * half], [rows, heads, width - 2 * half]));
  return concat(parts, 2);
});

fusedGradient<RotaryAttrs>(EspalierRotary, {}, ([dy], _saved, attrs) => ({ x: () => run(EspalierRotary, { x: dy }, { ...attrs, inverse: !attrs.inverse }) }));
