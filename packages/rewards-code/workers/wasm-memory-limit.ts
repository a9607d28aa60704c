/** A WebAssembly module whose own memory cannot grow beyond `pages` (of 64 KiB): the maximum is written into its memory section. */
export function withMemoryLimit(bytes: Uint8Array, pages: number): Uint8Array {
  let at = 8; // magic and version
  while (at < bytes.length) {
    const start = at;
    const id = bytes[at++];
    const [size, body] = readUnsigned(bytes, at);
    if (id === 5) {
      const [count, afterCount] = readUnsigned(bytes, body);
      const [flags, afterFlags] = readUnsigned(bytes, afterCount);
      const [least] = readUnsigned(bytes, afterFlags);
      if (count !== 1 || (flags & ~1) !== 0) throw new Error('the module has another kind of memory than one of 32 bits');
      const section = Uint8Array.from([1, 1, ...writeUnsigned(least), ...writeUnsigned(Math.max(pages, least))]);
      return Buffer.concat([bytes.subarray(0, start), Uint8Array.from([5, ...writeUnsigned(section.length)]), section, bytes.subarray(body + size)]);
    }
    at = body + size;
  }
  throw new Error('the module has no memory of its own');
}

function readUnsigned(bytes: Uint8Array, at: number): [value: number, next: number] {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++];
    value += (byte & 127) * 2 ** shift;
    if (byte < 128) return [value, at];
  }
}

function writeUnsigned(value: number): number[] {
  const out: number[] = [];
  for (; value >= 128; value = Math.floor(value / 128)) out.push((value & 127) | 128);
  return [...out, value];
}
