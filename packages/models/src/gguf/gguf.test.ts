import { isEspalierError } from '@espalier/spec';
import { gguf as theirReader } from '@huggingface/gguf';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RangedFile } from '../files';
import { openCheckpoint } from '../open-checkpoint';
import { openSafetensors } from '../safetensors';
import { readGgufHeader, type GgufHeader } from './header';
import { ggufWeights } from './weights';

const fixtures = fileURLToPath(new URL('../../fixtures/', import.meta.url));
const quants = join(fixtures, 'gguf', 'quants.gguf');

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'espalier-gguf-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('dequantisation', () => {
  it('gives to the bit what gguf-py gives, in every type, with the rows of q and k put back', () => {
    const file = new RangedFile(quants);
    const source = ggufWeights(file, readGgufHeader(file), 'llama', { numHeads: 4, numKvHeads: 2 });
    const expected = openSafetensors(join(fixtures, 'gguf', 'quants.safetensors'));
    expect([...source.tensors.values()].map((t) => t.dtype).sort()).toEqual(['bf16', 'f16', 'f32', 'q4_0', 'q4_1', 'q4_k', 'q5_0', 'q5_1', 'q6_k', 'q8_0']);
    for (const { name, shape } of source.tensors.values()) {
      expect(shape, name).toEqual(expected.tensors.get(name)!.shape);
      const into = new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(NaN);
      source.read(name, into);
      const wanted = expected.read(name);
      for (let i = 0; i < into.length; i++) if (into[i] !== wanted[i]) throw new Error(`${name}[${i}] is ${into[i]}, not ${wanted[i]}`);
    }
    file.close();
  });
});

describe('whole models', () => {
  it.each(['smollm2', 'llama3-rope', 'qwen2', 'qwen3', 'gpt2'])('%s: config, weights, tokenizer and template are those of the Hugging Face folder', async (name) => {
    const from = await openCheckpoint(join(fixtures, 'gguf', `${name}.gguf`));
    const folderModel = await openCheckpoint(join(fixtures, name));
    const { normEps, ...config } = from.config;
    const { normEps: wantedEps, ...wantedConfig } = folderModel.config;
    expect(config).toEqual(wantedConfig);
    expect(normEps).toBe(Math.fround(wantedEps)); // metadata are fp32
    expect([...from.tensors.keys()].sort()).toEqual([...folderModel.tensors.keys()].sort());
    for (const tensor of folderModel.tensors.values()) {
      expect(from.tensors.get(tensor.name)!.shape, tensor.name).toEqual(tensor.shape);
      expect(Buffer.from(from.read(tensor.name).buffer).equals(Buffer.from(folderModel.read(tensor.name).buffer)), tensor.name).toBe(true);
    }
    expect(from.chatTemplate).toBe(folderModel.chatTemplate);
    for (const text of ['What is 12 + 7?', '<|im_start|>user\nHi<|im_end|>', '  naïve 😀']) expect(from.tokenizer.encode(text)).toEqual(folderModel.tokenizer.encode(text));
    from.close();
    folderModel.close();
  });
});

describe('readGgufHeader', () => {
  const read = (path: string): GgufHeader => {
    const file = new RangedFile(path);
    try {
      return readGgufHeader(file);
    } finally {
      file.close();
    }
  };
  const refusal = (bytes: Uint8Array): { code: string; message: string } => {
    const path = join(folder, 'crafted.gguf');
    writeFileSync(path, bytes);
    try {
      read(path);
    } catch (error) {
      if (!isEspalierError(error)) throw error;
      expect(error.message).toContain(path);
      expect(error.message).not.toContain('\n');
      return error;
    }
    throw new Error('it was accepted');
  };

  it('agrees with @huggingface/gguf on files that are well formed', async () => {
    for (const name of readdirSync(join(fixtures, 'gguf')).filter((f) => f.endsWith('.gguf'))) {
      const path = join(fixtures, 'gguf', name);
      const ours = read(path);
      const theirs = await theirReader(path, { allowLocalFile: true });
      const { version, tensor_count: _tensors, kv_count: _pairs, ...metadata } = theirs.metadata as Record<string, unknown>;
      expect(ours.version).toBe(version);
      expect(Object.fromEntries(ours.metadata)).toEqual(metadata);
      expect([...ours.tensors.values()].map((t) => ({ name: t.name, shape: t.shape, start: t.start }))).toEqual(
        theirs.tensorInfos.map((t) => ({ name: t.name, shape: t.shape.map(Number).reverse(), start: Number(theirs.tensorDataOffset + t.offset) })),
      );
    }
  });

  it('refuses every proper beginning of a sound file', () => {
    const bytes = readFileSync(quants);
    for (let length = 0; length < bytes.length - 32; length += length < 1500 ? 1 : 97) expect(refusal(bytes.subarray(0, length)).code).toBe('bad_checkpoint');
  });

  it('never crashes on a header with a random byte changed', async () => {
    const bytes = readFileSync(join(fixtures, 'gguf', 'smollm2.gguf'));
    const path = join(folder, 'flipped.gguf');
    let state = 99;
    const random = (n: number): number => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) % n;
    for (let i = 0; i < 300; i++) {
      const copy = Buffer.from(bytes);
      copy[random(7000)] = random(256);
      writeFileSync(path, copy);
      try {
        const checkpoint = await openCheckpoint(path);
        for (const name of checkpoint.tensors.keys()) checkpoint.read(name);
        checkpoint.close();
      } catch (error) {
        expect(isEspalierError(error), String((error as Error).stack)).toBe(true);
      }
    }
  });

  describe('on crafted files', () => {
    const u32 = (n: number): number[] => [n & 255, (n >>> 8) & 255, (n >>> 16) & 255, n >>> 24];
    const u64 = (n: bigint | number): number[] => Array.from({ length: 8 }, (_, i) => Number((BigInt(n) >> BigInt(8 * i)) & 255n));
    const text = (s: string): number[] => [...u64(Buffer.byteLength(s)), ...Buffer.from(s)];
    const pair = (key: string, kind: number, ...value: number[]): number[] => [...text(key), ...u32(kind), ...value];
    const tensor = (name: string, dims: (bigint | number)[], kind: number, offset: bigint | number): number[] => [...text(name), ...u32(dims.length), ...dims.flatMap(u64), ...u32(kind), ...u64(offset)];
    const file = (pairs: number[][], tensors: number[][], data = 64, counts: { tensors?: bigint; pairs?: bigint } = {}): Uint8Array => {
      const head = [...Buffer.from('GGUF'), ...u32(3), ...u64(counts.tensors ?? tensors.length), ...u64(counts.pairs ?? pairs.length), ...pairs.flat(), ...tensors.flat()];
      return Uint8Array.from([...head, ...new Array<number>((32 - (head.length % 32)) % 32).fill(0), ...new Array<number>(data).fill(0)]);
    };

    it('says what is wrong', () => {
      const w = tensor('w', [8], 0, 0);
      const cases: [Uint8Array, RegExp, string?][] = [
        [Uint8Array.from([...Buffer.from('GGUF'), ...u32(3)]), /does not begin/],
        [Uint8Array.from([...Buffer.from('PK'), ...new Array<number>(40).fill(0)]), /does not begin/],
        [Uint8Array.from([...Buffer.from('GGUF'), ...u32(9), ...new Array<number>(40).fill(0)]), /version 9/, 'unsupported'],
        [Uint8Array.from([...Buffer.from('GGUF'), 0, 0, 0, 3, ...new Array<number>(40).fill(0)]), /big-endian/, 'unsupported'],
        [file([], [], 64, { tensors: 2n ** 60n }), /claims 1152921504606846976 tensors/],
        [file([], [], 64, { pairs: 2n ** 60n }), /claims 1152921504606846976 metadata entries/],
        [file([[...u64(2n ** 60n), 97, 97, 97, 97]], []), /claims 1152921504606846976 bytes for metadata key 0/],
        [file([pair('a', 8, ...u64(2n ** 63n))], []), /bytes for metadata "a"/],
        [file([pair('a', 9, ...u32(8), ...u64(2n ** 60n))], []), /elements of "a"/],
        [file([pair('a', 9, ...u32(77), ...u64(1))], []), /unknown type 77/],
        [file([pair('a', 9, ...u32(9), ...u64(1), ...u32(9), ...u64(1), ...u32(9), ...u64(1), ...u32(4), ...u64(0))], []), /too deeply/],
        [file([pair('a', 55)], []), /unknown type 55/],
        [file([pair('a', 7, 2)], []), /boolean with the value 2/],
        [file([pair('a', 7, 1), pair('a', 7, 1)], []), /"a" appears twice/],
        [file([pair('a', 8, ...u64(2), 0xff, 0xfe)], []), /not UTF-8/],
        [file([pair('general.alignment', 4, ...u32(0))], [w]), /alignment/],
        [file([pair('general.alignment', 4, ...u32(7))], [w]), /alignment/],
        [file([], [tensor('w', [], 0, 0)]), /0 dimensions/],
        [file([], [tensor('w', [1, 1, 1, 1, 1], 0, 0)]), /5 dimensions/],
        [file([], [tensor('w', [2n ** 60n], 0, 0)]), /impossible shape/],
        [file([], [tensor('w', [2n ** 40n, 2n ** 40n], 0, 0)]), /impossible shape/],
        [file([], [tensor('w', [0], 0, 0)]), /impossible shape/],
        [file([], [tensor('w', [2n ** 50n], 0, 0)]), /reaches to byte/],
        [file([], [tensor('w', [8], 4, 0)]), /unknown type 4/],
        [file([], [tensor('w', [256], 10, 0)]), /stored as q2_k/, 'unsupported'],
        [file([], [tensor('w', [33], 2, 0)]), /rows of 33 values, which q4_0 cannot hold/],
        [file([], [tensor('w', [8], 0, 4)]), /not at a multiple of 32/],
        [file([], [tensor('w', [8], 0, 2n ** 60n)]), /lies at byte/],
        [file([], [tensor('w', [8], 0, 64)]), /truncated/],
        [file([], [w, tensor('v', [16], 0, 0)], 64), /overlaps/],
        [file([], [w, tensor('w', [8], 0, 32)]), /"w" appears twice/],
        [file([pair('split.count', 2, 3, 0)], [w]), /one of 3 parts/, 'unsupported'],
      ];
      for (const [bytes, expected, code = 'bad_checkpoint'] of cases) {
        const error = refusal(bytes);
        expect(error.message).toMatch(expected);
        expect(error.code, error.message).toBe(code);
      }
      const sound = join(folder, 'sound.gguf');
      writeFileSync(sound, file([pair('a', 8, ...text('b'))], [w, tensor('v', [8], 0, 32)]));
      expect([...read(sound).tensors.keys()]).toEqual(['w', 'v']);
    });
  });
});
