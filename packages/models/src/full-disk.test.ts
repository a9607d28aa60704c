import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { characterTokenizer } from './small-tokenizers';
import { openSafetensors } from './safetensors';
import { writeSafetensors } from './safetensors-writer';
import { saveCheckpoint } from './save-checkpoint';
import { weightsInMemory } from './weight-source';

/** Bytes that the "disk" still takes; a write beyond them fails as on a full one. */
let left = Infinity;

vi.mock('node:fs', async (original) => {
  const real = await original<typeof import('node:fs')>();
  const writeSync = (descriptor: number, bytes: Uint8Array, offset: number, length: number): number => {
    if (left <= 0) throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    const written = real.writeSync(descriptor, bytes, offset, Math.min(length, left)); // the kernel writes what fits, then fails
    left -= written;
    return written;
  };
  return { ...real, writeSync, default: { ...real, writeSync } };
});

afterEach(() => {
  left = Infinity;
});

describe('on a full disk', () => {
  const model = (value: number, size: number) => ({
    weights: weightsInMemory([{ name: 'w', shape: [size], data: new Float32Array(size).fill(value) }]),
    configJson: { model_type: 'llama', value },
    tokenizer: characterTokenizer('ab'),
  });

  it('a safetensors file that does not fit is no_space, and the old one stands alone', () => {
    const folder = fs.mkdtempSync(join(tmpdir(), 'espalier-full-'));
    const path = join(folder, 'model.safetensors');
    writeSafetensors(path, [{ name: 'w', shape: [1], data: new Float32Array([7]) }]);
    left = 1000;
    expect(() => writeSafetensors(path, [{ name: 'w', shape: [2000], data: new Float32Array(2000) }])).toThrow(expect.objectContaining({ code: 'no_space' }));
    expect(openSafetensors(path).read('w')[0]).toBe(7);
    expect(fs.readdirSync(folder)).toEqual(['model.safetensors']);
    fs.rmSync(folder, { recursive: true });
  });

  it('a checkpoint that does not fit leaves the old one whole at every point of failure, and a new folder absent', () => {
    const folder = fs.mkdtempSync(join(tmpdir(), 'espalier-full-'));
    const old = join(folder, 'model');
    saveCheckpoint(old, model(1, 10));
    const before = new Map(fs.readdirSync(old).map((name) => [name, fs.readFileSync(join(old, name), 'utf8')]));
    for (let room = 0; room < 8_000; room += 500) {
      left = room;
      expect(() => saveCheckpoint(old, model(2, 3000))).toThrow(expect.objectContaining({ code: 'no_space' }));
      left = room;
      expect(() => saveCheckpoint(join(folder, 'new'), model(2, 3000))).toThrow(expect.objectContaining({ code: 'no_space' }));
      expect(fs.readdirSync(folder)).toEqual(['model']);
      expect(new Map(fs.readdirSync(old).map((name) => [name, fs.readFileSync(join(old, name), 'utf8')]))).toEqual(before);
    }
    fs.rmSync(folder, { recursive: true });
  });
});
