import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Checkpoint } from './checkpoint';
import { createDecoder } from './decoder';
import { openCheckpoint } from './open-checkpoint';
import { saveCheckpoint } from './save-checkpoint';

const model = fileURLToPath(new URL('../../../.cache/models/SmolLM2-135M-Instruct.Q4_1.gguf', import.meta.url));
const expected = (name: string): unknown => JSON.parse(readFileSync(new URL(`../fixtures/smollm2-q4_1/${name}.json`, import.meta.url), 'utf8'));

interface Case {
  text: string;
  ids: number[];
  idsWithSpecial: number[];
  decoded: string;
  decodedPlain: string;
}

describe.skipIf(!existsSync(model))('SmolLM2-135M-Instruct Q4_1 (skipped where `node tools/fixtures/fetch-smollm2.mjs` has not fetched it)', () => {
  let checkpoint: Checkpoint;
  beforeAll(async () => {
    checkpoint = await openCheckpoint(model);
  });
  afterAll(() => checkpoint?.close());

  it('loads into a decoder within 1.3 times its fp32 weights and 250 MB', () => {
    const weights = [...checkpoint.tensors.values()].reduce((sum, { shape }) => sum + 4 * shape.reduce((a, b) => a * b, 1), 0);
    const before = process.memoryUsage().rss;
    const decoder = createDecoder(checkpoint.config, checkpoint);
    const peak = process.resourceUsage().maxRSS * 1024 - before;
    decoder.dispose();
    expect(weights).toBe(134_515_008 * 4);
    expect(peak).toBeLessThan(1.3 * weights + 250e6);
  });

  it('every weight is to the bit what transformers dequantises', () => {
    const { tensors, config } = expected('weights') as { tensors: Record<string, { shape: number[]; sha256: string }>; config: Record<string, unknown> };
    expect([...checkpoint.tensors.keys()].sort()).toEqual(Object.keys(tensors).sort());
    for (const [name, { shape, sha256 }] of Object.entries(tensors)) {
      expect(checkpoint.tensors.get(name)!.shape).toEqual(shape);
      expect(createHash('sha256').update(new Uint8Array(checkpoint.read(name).buffer)).digest('hex'), name).toBe(sha256);
    }
    const stated = Object.entries(checkpoint.configJson).filter(([key]) => key in config);
    expect(stated.length).toBeGreaterThan(18);
    for (const [key, value] of stated) expect({ [key]: value }).toEqual({ [key]: config[key] });
  });

  it('encodes, decodes and renders chats as transformers does, before and after saving', async () => {
    const { cases, chats, bos, eos, pad } = expected('tokenizer') as {
      cases: Case[];
      chats: { messages: { role: string; content: string }[]; addGenerationPrompt: boolean; text: string; ids: number[] }[];
      bos: number;
      eos: number;
      pad: number;
    };
    const folder = mkdtempSync(join(tmpdir(), 'espalier-smollm2-'));
    const { configJson, tokenizer, generationConfig } = checkpoint;
    saveCheckpoint(folder, { weights: checkpoint, configJson, tokenizer, generationConfig, dtype: 'bfloat16' });
    const saved = await openCheckpoint(folder);
    for (const { tokenizer } of [checkpoint, saved]) {
      for (const { text, ids, idsWithSpecial, decoded, decodedPlain } of cases) {
        expect([...tokenizer.encode(text, { addSpecialTokens: false })], text).toEqual(ids);
        expect([...tokenizer.encode(text)], text).toEqual(idsWithSpecial);
        expect(tokenizer.decode(ids)).toBe(decoded);
        expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(decodedPlain);
      }
      for (const { messages, addGenerationPrompt, text, ids } of chats) {
        expect(tokenizer.applyChatTemplate(messages, { addGenerationPrompt })).toBe(text);
        expect([...tokenizer.encode(text, { addSpecialTokens: false })]).toEqual(ids);
      }
      expect([tokenizer.bosTokenId, tokenizer.eosTokenId, tokenizer.padTokenId]).toEqual([bos, eos, pad]);
    }
    expect(saved.config).toEqual(checkpoint.config);
    saved.close();
    rmSync(folder, { recursive: true });
  });
});
