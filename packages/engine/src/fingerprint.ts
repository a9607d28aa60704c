import { createHash } from 'node:crypto';
import type { Variable } from '@espalier/tensor';

const blocks = 16;
const blockLength = 1024; // numbers

/**
 * Sixteen hex digits that tell versions of the same model's weights apart: SHA-256 over names, shapes, and of every parameter up to 16 evenly spaced
 * blocks of 1,024 numbers (small parameters whole). An optimiser step changes nearly every number, so that blocks suffice and publishing stays cheap.
 */
export function fingerprint(parameters: ReadonlyMap<string, Variable>): string {
  const hash = createHash('sha256');
  for (const [name, parameter] of parameters) {
    hash.update(`${name}[${parameter.shape}]`);
    const values = parameter.dataSync() as Float32Array;
    const stride = Math.max(blockLength, Math.floor(values.length / blocks));
    for (let start = 0; start < values.length; start += stride) {
      const block = values.subarray(start, start + blockLength);
      hash.update(new Uint8Array(block.buffer, block.byteOffset, block.byteLength));
    }
  }
  return hash.digest('hex').slice(0, 16);
}
