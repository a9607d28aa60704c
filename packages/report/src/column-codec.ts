/** Numbers as base64 of their little-endian bytes: a third of the size of JSON, and read in no time. Works in Node and in browsers. */
export const encodeFloat32 = (values: ArrayLike<number>): string => toBase64(new Uint8Array(Float32Array.from(values).buffer));
export const decodeFloat32 = (text: string): Float32Array => new Float32Array(fromBase64(text).buffer);
export const encodeFloat64 = (values: ArrayLike<number>): string => toBase64(new Uint8Array(Float64Array.from(values).buffer));
export const decodeFloat64 = (text: string): Float64Array => new Float64Array(fromBase64(text).buffer);

function toBase64(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let i = 0; i < bytes.length; i += 0x6000) parts.push(btoa(String.fromCharCode(...bytes.subarray(i, i + 0x6000)))); // whole triples: parts may be joined
  return parts.join('');
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
