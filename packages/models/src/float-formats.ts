import { EspalierError } from '@espalier/spec';

/** The float formats that a checkpoint's tensors are written in. */
export type FloatFormat = 'float32' | 'bfloat16' | 'float16';

/** Bytes of one value. */
export const floatBytes: Readonly<Record<FloatFormat, number>> = { float32: 4, bfloat16: 2, float16: 2 };

let halfTable: Float32Array | null = null;

/** Every fp16 value by its bits: 65,536 fp32 numbers, made at first use. */
function halves(): Float32Array {
  if (halfTable) return halfTable;
  const table = new Float32Array(65_536);
  for (let bits = 0; bits < 65_536; bits++) {
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    const magnitude = exponent === 0 ? fraction * 2 ** -24 : exponent === 31 ? (fraction ? NaN : Infinity) : (1 + fraction / 1024) * 2 ** (exponent - 15);
    table[bits] = bits & 0x8000 ? -magnitude : magnitude;
  }
  return (halfTable = table);
}

/** One fp16 value from its bits. */
export function halfToFloat(bits: number): number {
  return halves()[bits];
}

/** fp16 → fp32 of `source` into `target` from `offset`. Exact. */
export function widenHalf(source: Uint16Array, target: Float32Array, offset: number): void {
  const table = halves();
  for (let i = 0; i < source.length; i++) target[offset + i] = table[source[i]];
}

/** bf16 → fp32 of `source` into `target` from `offset`. Exact: bf16 is the upper half of fp32. */
export function widenBfloat(source: Uint16Array, target: Float32Array, offset: number): void {
  const bits = new Uint32Array(target.buffer, target.byteOffset, target.length);
  for (let i = 0; i < source.length; i++) bits[offset + i] = source[i] << 16;
}

/** fp32 → bf16, round to nearest, ties to even; a NaN stays a NaN. */
export function narrowToBfloat(source: Float32Array, target: Uint16Array): void {
  const bits = new Uint32Array(source.buffer, source.byteOffset, source.length);
  for (let i = 0; i < bits.length; i++) {
    const word = bits[i];
    target[i] = (word & 0x7fffffff) > 0x7f800000 ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
}

/**
 * fp32 → fp16, round to nearest, ties to even.
 * @throws EspalierError `unsupported` for a finite number beyond fp16's 65,504: written, it would read back as infinity.
 */
export function narrowToHalf(source: Float32Array, target: Uint16Array, name: string): void {
  const bits = new Uint32Array(source.buffer, source.byteOffset, source.length);
  for (let i = 0; i < bits.length; i++) {
    const word = bits[i];
    const sign = (word >>> 16) & 0x8000;
    const magnitude = word & 0x7fffffff;
    if (magnitude >= 0x7f800000) {
      target[i] = sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00); // NaN, infinity
    } else if (magnitude >= 0x477ff000) {
      throw new EspalierError('unsupported', `${name} holds ${source[i]}, which fp16 cannot hold (its largest number is 65504)`, { fix: 'save in bf16 or fp32' });
    } else if (magnitude >= 0x38800000) {
      target[i] = sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13); // normal
    } else {
      const scaled = Math.abs(source[i]) * 2 ** 24; // subnormal: a multiple of 2^-24
      const floor = Math.floor(scaled);
      const rest = scaled - floor;
      target[i] = sign | (floor + (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? 1 : 0));
    }
  }
}
