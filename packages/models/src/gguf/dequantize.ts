import { halfToFloat, widenBfloat, widenHalf } from '../float-formats';
import type { GgmlType } from './ggml-types';

/**
 * Dequantises whole blocks of `packed` into `target` from `offset`, in fp32. Layouts: `ggml-quants.c` (`dequantize_row_*`). Products of an fp16 scale, its 6- or 8-bit factor and
 * a quant are exact in fp32, so the one rounding, at the store, gives what ggml and gguf-py give, to the bit.
 */
export function dequantize(type: GgmlType, packed: Uint8Array, target: Float32Array, offset: number): void {
  dequantizers[type.name](packed, target, offset);
}

type Dequantizer = (packed: Uint8Array, target: Float32Array, offset: number) => void;

const half = (bytes: Uint8Array, at: number): number => halfToFloat(bytes[at] | (bytes[at + 1] << 8));

/** 32 values in 4 bits: the low nibbles are values 0–15, the high ones 16–31. Q4_0: d·(q − 8); Q4_1: d·q + m. */
function fourBit(affine: boolean): Dequantizer {
  const head = affine ? 4 : 2;
  return (packed, target, offset) => {
    for (let at = 0, out = offset; at < packed.length; at += head + 16, out += 32) {
      const d = half(packed, at);
      const m = affine ? half(packed, at + 2) : -8 * d;
      for (let j = 0; j < 16; j++) {
        const byte = packed[at + head + j];
        target[out + j] = d * (byte & 15) + m;
        target[out + j + 16] = d * (byte >> 4) + m;
      }
    }
  };
}

/** As {@link fourBit}, with fifth bits in a word of their own. Q5_0: d·(q − 16); Q5_1: d·q + m. */
function fiveBit(affine: boolean): Dequantizer {
  const head = affine ? 4 : 2;
  return (packed, target, offset) => {
    for (let at = 0, out = offset; at < packed.length; at += head + 20, out += 32) {
      const d = half(packed, at);
      const m = affine ? half(packed, at + 2) : -16 * d;
      const high = packed[at + head] | (packed[at + head + 1] << 8) | (packed[at + head + 2] << 16) | (packed[at + head + 3] << 24);
      for (let j = 0; j < 16; j++) {
        const byte = packed[at + head + 4 + j];
        target[out + j] = d * ((byte & 15) | (((high >>> j) & 1) << 4)) + m;
        target[out + j + 16] = d * ((byte >> 4) | (((high >>> (j + 16)) & 1) << 4)) + m;
      }
    }
  };
}

/** Q8_0: 32 signed bytes; d·q. */
const eightBit: Dequantizer = (packed, target, offset) => {
  for (let at = 0, out = offset; at < packed.length; at += 34, out += 32) {
    const d = half(packed, at);
    for (let j = 0; j < 32; j++) target[out + j] = d * ((packed[at + 2 + j] << 24) >> 24);
  }
};

/** Q4_K: 256 values in eight groups of 32, each with a 6-bit scale and a 6-bit minimum; d·s·q − dmin·m. */
const fourBitK: Dequantizer = (packed, target, offset) => {
  for (let at = 0, out = offset; at < packed.length; at += 144, out += 256) {
    const d = half(packed, at);
    const dmin = half(packed, at + 2);
    const scales = at + 4;
    for (let group = 0; group < 8; group++) {
      const low = group < 4;
      const scale = low ? packed[scales + group] & 63 : (packed[scales + group + 4] & 15) | ((packed[scales + group - 4] >> 6) << 4);
      const minimum = low ? packed[scales + group + 4] & 63 : (packed[scales + group + 4] >> 4) | ((packed[scales + group] >> 6) << 4);
      const quants = at + 16 + (group >> 1) * 32;
      const shift = (group & 1) * 4;
      const step = d * scale;
      const base = dmin * minimum;
      for (let j = 0; j < 32; j++) target[out + group * 32 + j] = step * ((packed[quants + j] >> shift) & 15) - base;
    }
  }
};

/** Q6_K: 256 values in sixteen groups of 16, each with a signed 8-bit scale; d·s·(q − 32), q of four low and two high bits. */
const sixBitK: Dequantizer = (packed, target, offset) => {
  for (let at = 0, out = offset; at < packed.length; at += 210, out += 256) {
    const d = half(packed, at + 208);
    for (let i = 0; i < 256; i++) {
      const side = i >> 7; // each half of the block: 64 bytes of low bits, 32 of high bits
      const quarter = (i >> 5) & 3;
      const low = (packed[at + side * 64 + (i & 63)] >> ((quarter >> 1) * 4)) & 15;
      const high = (packed[at + 128 + side * 32 + (i & 31)] >> (quarter * 2)) & 3;
      const scale = (packed[at + 192 + (i >> 4)] << 24) >> 24;
      target[out + i] = d * scale * ((low | (high << 4)) - 32);
    }
  }
};

/** The bytes as 16-bit words; copied when they do not lie on an even address. */
function words(packed: Uint8Array): Uint16Array {
  const aligned = packed.byteOffset % 2 === 0 ? packed : packed.slice();
  return new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.length / 2);
}

const dequantizers: Readonly<Record<string, Dequantizer>> = {
  f32: (packed, target, offset) => new Uint8Array(target.buffer, target.byteOffset + offset * 4, packed.length).set(packed),
  f16: (packed, target, offset) => widenHalf(words(packed), target, offset),
  bf16: (packed, target, offset) => widenBfloat(words(packed), target, offset),
  q4_0: fourBit(false),
  q4_1: fourBit(true),
  q5_0: fiveBit(false),
  q5_1: fiveBit(true),
  q8_0: eightBit,
  q4_k: fourBitK,
  q6_k: sixBitK,
};
