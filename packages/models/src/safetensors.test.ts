import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execFileSync } from 'node:child_process';
import { isEspalierError } from '@espalier/spec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { narrowToBfloat, narrowToHalf, widenBfloat, widenHalf } from './float-formats';
import { openSafetensors } from './safetensors';
import { openShardedSafetensors } from './safetensors-sharded';
import { writeSafetensors } from './safetensors-writer';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'espalier-safetensors-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A file with this header text and this many bytes of data; `claim` overrides the header's length. */
function craft(header: string | object, data: number, claim?: bigint): string {
  const text = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length + data);
  new DataView(bytes.buffer).setBigUint64(0, claim ?? BigInt(text.length), true);
  bytes.set(text, 8);
  const path = join(folder, 'crafted.safetensors');
  writeFileSync(path, bytes);
  return path;
}

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (!isEspalierError(error)) throw error;
    expect(error.code).toBe('bad_checkpoint');
    expect(error.message).not.toContain('\n');
    return error.message;
  }
  throw new Error('it was accepted');
}

const f32 = (begin: number, end: number, shape = [(end - begin) / 4]): object => ({ dtype: 'F32', shape, data_offsets: [begin, end] });

describe('openSafetensors', () => {
  it('refuses a header that cannot be true, naming the file', () => {
    const cases: [string | object, number, bigint | undefined, RegExp][] = [
      ['{}', 0, 2n ** 60n, /claims 1152921504606846976 bytes/],
      ['{}', 0, 2n ** 64n - 1n, /claims 18446744073709551615/],
      ['{}', 0, 90_000_000n, /truncated/],
      ['{"a"', 0, undefined, /not valid JSON/],
      ['[]', 0, undefined, /not a JSON object/],
      ['null', 0, undefined, /not a JSON object/],
      ['{}', 8, undefined, /8 bytes at its end belong to no tensor/],
      [{ __metadata__: { a: 1 } }, 0, undefined, /strings to strings/],
      [{ w: 3 }, 0, undefined, /"w" is not described by an object/],
      [{ w: { ...f32(0, 8), dtype: 'F31' } }, 8, undefined, /unknown dtype "F31"/],
      [{ w: { ...f32(0, 8), dtype: '__proto__' } }, 8, undefined, /unknown dtype/],
      [{ w: { ...f32(0, 8), shape: [-2] } }, 8, undefined, /shape/],
      [{ w: { ...f32(0, 8), shape: 2 } }, 8, undefined, /shape/],
      [{ w: { ...f32(0, 8), shape: [1.5] } }, 8, undefined, /shape/],
      [{ w: { ...f32(0, 8), shape: [2 ** 40, 2 ** 40] } }, 8, undefined, /impossible shape/],
      [{ w: { ...f32(0, 8), shape: [2 ** 52] } }, 8, undefined, /8 bytes; F32/],
      [{ w: f32(0, 8, [3]) }, 8, undefined, /"w" has 8 bytes; F32 \[3\] takes 12/],
      [{ w: { dtype: 'F32', shape: [1], data_offsets: [8, 4] } }, 8, undefined, /ends \(byte 4\) before it begins/],
      [{ w: { dtype: 'F32', shape: [1], data_offsets: [0] } }, 8, undefined, /not two positions/],
      [{ w: { dtype: 'F32', shape: [1], data_offsets: ['0', '4'] } }, 8, undefined, /not two positions/],
      [{ w: f32(0, 16) }, 8, undefined, /"w" reaches to byte 16 of the data, but the file holds only 8/],
      [{ w: f32(0, 2 ** 52) }, 8, undefined, /reaches to byte/],
      [{ a: f32(0, 8), b: f32(4, 12) }, 12, undefined, /"b" overlaps/],
      [{ a: f32(0, 8), b: f32(0, 8) }, 8, undefined, /overlaps/],
      [{ a: f32(0, 4), b: f32(8, 12) }, 12, undefined, /4 bytes before tensor "b" belong to none/],
      [`{"a":${JSON.stringify(f32(0, 4))},"a":${JSON.stringify(f32(0, 4))}}`, 4, undefined, /lists "a" twice/],
      [`{"a":${JSON.stringify(f32(0, 4))},"\\u0061":${JSON.stringify(f32(0, 4))}}`, 4, undefined, /lists "a" twice/],
    ];
    for (const [header, data, claim, expected] of cases) {
      const path = craft(header, data, claim);
      const message = refusal(() => openSafetensors(path));
      expect(message).toMatch(expected);
      expect(message).toContain(path);
    }
  });

  it('refuses every proper beginning of a sound file', () => {
    const path = join(folder, 'whole.safetensors');
    writeSafetensors(path, [{ name: 'a', shape: [2, 3], data: new Float32Array(6) }, { name: 'b', shape: [], data: new Float32Array(1) }]);
    const bytes = readFileSync(path);
    const cut = join(folder, 'cut.safetensors');
    for (let length = 0; length < bytes.length; length++) {
      writeFileSync(cut, bytes.subarray(0, length));
      expect(refusal(() => openSafetensors(cut))).toContain(cut);
    }
  });

  it('never crashes on a header with a random byte changed', () => {
    const bytes = readFileSync(new URL('../fixtures/bf16/model.safetensors', import.meta.url));
    const header = Number(bytes.readBigUInt64LE(0));
    const path = join(folder, 'flipped.safetensors');
    let state = 12345;
    const random = (n: number): number => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) % n;
    for (let i = 0; i < 400; i++) {
      const copy = Buffer.from(bytes);
      copy[random(8 + header)] = random(256);
      writeFileSync(path, copy);
      try {
        const file = openSafetensors(path);
        for (const name of file.tensors.keys()) file.read(name);
        file.close();
      } catch (error) {
        expect(isEspalierError(error), String(error)).toBe(true);
      }
    }
  });

  it('does not read from a pipe, a folder or nothing', () => {
    expect(refusal(() => openSafetensors(folder))).toMatch(/not a regular file/);
    expect(() => openSafetensors(join(folder, 'absent'))).toThrow(expect.objectContaining({ code: 'not_found' }));
    if (process.platform !== 'win32') {
      const pipe = join(folder, 'pipe.safetensors');
      execFileSync('mkfifo', [pipe]);
      expect(refusal(() => openSafetensors(pipe))).toMatch(/not a regular file/);
    }
  });

  it('reads what is there although another file is renamed over it', () => {
    const path = join(folder, 'replaced.safetensors');
    writeSafetensors(path, [{ name: 'w', shape: [2], data: new Float32Array([1, 2]) }]);
    const file = openSafetensors(path);
    writeSafetensors(path, [{ name: 'w', shape: [1], data: new Float32Array([3]) }]);
    expect([...file.read('w')]).toEqual([1, 2]);
    file.close();
    expect(() => file.read('w')).toThrow(expect.objectContaining({ code: 'closed' }));
  });

  it('reads integers as what they are: nothing for a model', () => {
    const path = craft({ n: { dtype: 'I64', shape: [1], data_offsets: [0, 8] } }, 8);
    expect(() => openSafetensors(path).read('n')).toThrow(expect.objectContaining({ code: 'unsupported' }));
  });
});

describe('openShardedSafetensors', () => {
  const index = (map: unknown): string => {
    const path = join(folder, 'model.safetensors.index.json');
    writeFileSync(path, JSON.stringify({ weight_map: map }));
    return path;
  };

  it('joins shards', () => {
    writeSafetensors(join(folder, 'one.safetensors'), [{ name: 'a', shape: [1], data: new Float32Array([1]) }]);
    writeSafetensors(join(folder, 'two.safetensors'), [{ name: 'b', shape: [1], data: new Float32Array([2]) }]);
    const sharded = openShardedSafetensors(index({ a: 'one.safetensors', b: 'two.safetensors' }));
    expect([sharded.read('a')[0], sharded.read('b')[0]]).toEqual([1, 2]);
    sharded.close();
  });

  it('refuses names that lead elsewhere, and an index that is not true', () => {
    for (const name of ['../one.safetensors', '/etc/passwd', 'a/b.safetensors', 'a\\b.safetensors', '..', 'C:x.safetensors', '.hidden.safetensors', 'one.bin', 7, null]) {
      expect(refusal(() => openShardedSafetensors(index({ a: name })))).toMatch(/not the name of a safetensors file beside it/);
    }
    expect(refusal(() => openShardedSafetensors(index({ a: 'absent.safetensors' })))).toMatch(/which is not there/);
    expect(refusal(() => openShardedSafetensors(index({ a: 'two.safetensors' })))).toMatch(/does not hold it/);
    expect(refusal(() => openShardedSafetensors(index({})))).toMatch(/lists no tensors/);
  });

  it('refuses a tensor that the index leaves out', () => {
    writeSafetensors(join(folder, 'more.safetensors'), [{ name: 'a', shape: [1], data: new Float32Array(1) }, { name: 'z', shape: [1], data: new Float32Array(1) }]);
    expect(refusal(() => openShardedSafetensors(index({ a: 'more.safetensors' })))).toMatch(/does not list tensor "z"/);
  });

  it('follows links, which the hub cache is made of', () => {
    if (process.platform === 'win32') return;
    symlinkSync('one.safetensors', join(folder, 'linked.safetensors'));
    const sharded = openShardedSafetensors(index({ a: 'linked.safetensors' }));
    expect(sharded.read('a')[0]).toBe(1);
    sharded.close();
  });
});

describe('writeSafetensors', () => {
  it('keeps the old file, and leaves nothing else, when the new one cannot be made', () => {
    const path = join(folder, 'kept', 'model.safetensors');
    writeSafetensors(path, [{ name: 'w', shape: [1], data: new Float32Array([7]) }]);
    const failing = (): Float32Array => {
      throw new Error('no');
    };
    expect(() => writeSafetensors(path, [{ name: 'w', shape: [1], data: failing }])).toThrow('no');
    expect(() => writeSafetensors(path, [{ name: 'w', shape: [1], data: new Float32Array([1e6]) }], { dtype: 'float16' })).toThrow(expect.objectContaining({ code: 'unsupported' }));
    expect(openSafetensors(path).read('w')[0]).toBe(7);
    expect(readdirSync(join(folder, 'kept'))).toEqual(['model.safetensors']);
  });

  it('gives the same bytes for the same tensors, in every format, through chunks', () => {
    const data = Float32Array.from({ length: 2_500_000 }, (_, i) => Math.fround(Math.sin(i)));
    for (const dtype of ['float32', 'bfloat16', 'float16'] as const) {
      const path = join(folder, `big-${dtype}.safetensors`);
      writeSafetensors(path, [{ name: 'x', shape: [3], data: new Float32Array([1, 2, 3]) }, { name: 'w', shape: [2_500_000], data }], { dtype });
      const first = openSafetensors(path);
      const read = first.read('w');
      const again = join(folder, 'again.safetensors');
      writeSafetensors(again, [{ name: 'x', shape: [3], data: () => first.read('x') }, { name: 'w', shape: [2_500_000], data: read }], { dtype });
      expect(readFileSync(again).equals(readFileSync(path))).toBe(true);
      const loss = { float32: 0, bfloat16: 2 ** -8, float16: 2 ** -11 }[dtype];
      let worst = 0;
      for (let i = 0; i < data.length; i++) worst = Math.max(worst, Math.abs(read[i] - data[i]));
      expect(worst).toBeLessThanOrEqual(loss / 2 + (loss ? 1e-9 : 0));
      first.close();
    }
  });
});

describe('float formats', () => {
  it('widens and narrows every fp16 and bf16 number to itself', () => {
    const all = Uint16Array.from({ length: 65_536 }, (_, i) => i);
    const wide = new Float32Array(65_536);
    const back = new Uint16Array(65_536);
    const changed = (): number[] => [...all].filter((bits) => !Number.isNaN(wide[bits]) && back[bits] !== bits);
    widenHalf(all, wide, 0);
    narrowToHalf(wide, back, 'all');
    expect(changed()).toEqual([]);
    widenBfloat(all, wide, 0);
    narrowToBfloat(wide, back);
    expect(changed()).toEqual([]);
  });

  it('rounds to the nearest number, ties to the even one, and keeps NaN', () => {
    const near = (values: number[], narrow: (s: Float32Array, t: Uint16Array) => void, widen: typeof widenHalf): number[] => {
      const bits = new Uint16Array(values.length);
      narrow(Float32Array.from(values), bits);
      const wide = new Float32Array(values.length);
      widen(bits, wide, 0);
      return [...wide];
    };
    const half = (s: Float32Array, t: Uint16Array): void => narrowToHalf(s, t, 'w');
    expect(near([1 + 2 ** -11, 1 + 3 * 2 ** -11, 1 + 2 ** -11 + 2 ** -20, 2 ** -25, 3 * 2 ** -25, 65519, -0, NaN], half, widenHalf)).toEqual([1, 1 + 2 ** -9, 1 + 2 ** -10, 0, 2 ** -23, 65504, -0, NaN]);
    expect(near([1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20, -0, NaN, Infinity], narrowToBfloat, widenBfloat)).toEqual([1, 1 + 2 ** -6, 1 + 2 ** -7, -0, NaN, Infinity]);
  });
});
