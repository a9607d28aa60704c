import { isEspalierError } from '@espalier/spec';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openAdapter, saveAdapter } from './adapter-files';
import type { Checkpoint } from './checkpoint';
import { createModel } from './create-model';
import { openCheckpoint } from './open-checkpoint';
import { saveCheckpoint } from './save-checkpoint';
import { byteTokenizer, characterTokenizer } from './small-tokenizers';
import { weightsInMemory } from './weight-source';

const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));
const models = ['llama', 'llama3-rope', 'smollm2', 'mistral', 'qwen2', 'qwen3', 'gpt2', 'sharded', 'bf16', 'fp16'];
const formats = { bf16: 'bfloat16', fp16: 'float16' } as const;
const formatOf = (name: string): 'float32' | 'bfloat16' | 'float16' => formats[name as keyof typeof formats] ?? 'float32';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'espalier-checkpoint-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function refusal(promise: Promise<unknown>): Promise<{ code: string; message: string }> {
  try {
    await promise;
  } catch (error) {
    if (!isEspalierError(error)) throw error;
    expect(error.message).not.toContain('\n');
    return error;
  }
  throw new Error('it was accepted');
}

function save(checkpoint: Checkpoint, to: string, dtype: 'float32' | 'bfloat16' | 'float16' = 'float32'): void {
  const { configJson, tokenizer, generationConfig } = checkpoint;
  saveCheckpoint(to, { weights: checkpoint, configJson, tokenizer, generationConfig, dtype });
}

function expectSameWeights(a: Checkpoint, b: Checkpoint): void {
  expect([...a.tensors.keys()].sort()).toEqual([...b.tensors.keys()].sort());
  for (const { name, shape } of a.tensors.values()) {
    expect(b.tensors.get(name)!.shape).toEqual(shape);
    expect(Buffer.from(a.read(name).buffer).equals(Buffer.from(b.read(name).buffer)), name).toBe(true);
  }
}

describe('openCheckpoint and saveCheckpoint', () => {
  it.each(models)('%s: load, save, load gives the same to the bit', async (name) => {
    const first = await openCheckpoint(join(fixtures, name));
    const saved = join(folder, name);
    save(first, saved, formatOf(name));
    expect(readdirSync(saved).sort()).toEqual(['chat_template.jinja', 'config.json', 'generation_config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']);
    const second = await openCheckpoint(saved);
    expectSameWeights(first, second);
    expect(second.config).toEqual(first.config);
    expect(second.generationConfig).toEqual(first.generationConfig);
    expect([...second.tensors.values()].every((t) => t.dtype === formatOf(name))).toBe(true);
    const third = join(folder, `${name}-again`);
    save(second, third, formatOf(name));
    for (const file of readdirSync(saved)) expect(readFileSync(join(third, file)).equals(readFileSync(join(saved, file))), file).toBe(true);
    first.close();
    second.close();
  });

  it('saves over the checkpoint that it reads from, and removes the shards that it replaces', async () => {
    const own = join(folder, 'own');
    cpSync(join(fixtures, 'sharded'), own, { recursive: true, filter: (file) => !file.includes('expected') });
    writeFileSync(join(own, 'notes.txt'), 'mine');
    const checkpoint = await openCheckpoint(own);
    save(checkpoint, own);
    const again = await openCheckpoint(own);
    expectSameWeights(checkpoint, again);
    expect(readdirSync(own).filter((f) => f.includes('safetensors'))).toEqual(['model.safetensors']);
    expect(readFileSync(join(own, 'notes.txt'), 'utf8')).toBe('mine');
    checkpoint.close();
    again.close();
  });

  it('says what is missing, in one line', async () => {
    const at = (name: string, ...files: [string, string | Uint8Array][]): string => {
      const made = join(folder, name);
      mkdirSync(made);
      for (const [file, content] of files) writeFileSync(join(made, file), content);
      return made;
    };
    const config = readFileSync(join(fixtures, 'llama', 'config.json'));
    const weights = readFileSync(join(fixtures, 'llama', 'model.safetensors'));
    const cases: [string, string, RegExp][] = [
      [join(folder, 'nowhere'), 'not_found', /nowhere does not exist/],
      ['', 'not_found', /no name/],
      ['no-such-model', 'not_found', /does not exist/],
      [at('empty'), 'not_found', /holds no model/],
      [at('bin', ['pytorch_model.bin', '']), 'unsupported', /pickled/],
      [at('adapter', ['adapter_config.json', '{}']), 'unsupported', /adapter/],
      [at('no-config', ['model.safetensors', weights]), 'not_found', /no config\.json/],
      [at('bad-config', ['model.safetensors', weights], ['config.json', '{']), 'bad_checkpoint', /config\.json is not valid JSON/],
      [at('list-config', ['model.safetensors', weights], ['config.json', '[]']), 'bad_checkpoint', /should hold a JSON object/],
      [at('other', ['model.safetensors', weights], ['config.json', '{"model_type":"mamba"}']), 'unsupported', /mamba/],
      [at('cut', ['model.safetensors', weights.subarray(0, 50_000)], ['config.json', config]), 'bad_checkpoint', /truncated/],
      [at('bad-eos', ['model.safetensors', weights], ['config.json', config], ['generation_config.json', '{"eos_token_id":"x"}']), 'bad_checkpoint', /eos_token_id/],
      [join(at('text', ['a.txt', 'x']), 'a.txt'), 'unsupported', /not a kind of model file/],
    ];
    for (const [reference, code, message] of cases) expect(await refusal(openCheckpoint(reference)), reference).toMatchObject({ code, message: expect.stringMatching(message) as string });
    const bare = await openCheckpoint(at('bare', ['model.safetensors', weights], ['config.json', config]));
    expect(bare.hasTokenizer).toBe(false);
    expect(() => bare.tokenizer).toThrow(expect.objectContaining({ code: 'not_found' }));
    bare.close();
  });

  it('opens a .safetensors file by the files beside it', async () => {
    const checkpoint = await openCheckpoint(join(fixtures, 'mistral', 'model.safetensors'));
    expect([checkpoint.config.architecture, checkpoint.tokenizer.vocabSize, checkpoint.config.eosTokenIds]).toEqual(['mistral', 280, [2]]);
    checkpoint.close();
  });
});

describe('createModel', () => {
  it('makes a folder that opens, the same for the same seed', async () => {
    const tokenizer = characterTokenizer('0123456789+= ');
    const make = async (name: string, seed: number): Promise<Buffer> => {
      await createModel(join(folder, name), { config: { hiddenSize: 16, numLayers: 2, numHeads: 2 }, tokenizer, seed });
      return readFileSync(join(folder, name, 'model.safetensors'));
    };
    const first = await make('made-1', 7);
    expect((await make('made-2', 7)).equals(first)).toBe(true);
    expect((await make('made-3', 8)).equals(first)).toBe(false);
    const checkpoint = await openCheckpoint(join(folder, 'made-1'));
    expect(checkpoint.config).toMatchObject({ architecture: 'llama', vocabSize: 16, intermediateSize: 64, eosTokenIds: [2], padTokenId: 0, maxPositions: 1024 });
    expect([...checkpoint.tokenizer.encode('1+2=3')]).toEqual([4, 13, 5, 14, 6]);
    checkpoint.close();
  });

  it.each(['mistral', 'qwen2', 'qwen3', 'gpt2'] as const)('makes a %s', async (architecture) => {
    await createModel(join(folder, `new-${architecture}`), { config: { architecture, hiddenSize: 16, numLayers: 1, numHeads: 2 }, tokenizer: byteTokenizer(), seed: 1 });
    const checkpoint = await openCheckpoint(join(folder, `new-${architecture}`));
    expect(checkpoint.config.architecture).toBe(architecture);
    checkpoint.close();
  });

  it('refuses shapes that make no model', async () => {
    const make = (config: object): Promise<unknown> => createModel(join(folder, 'refused'), { config: { hiddenSize: 16, numLayers: 1, numHeads: 2, ...config }, tokenizer: byteTokenizer(), seed: 1 });
    for (const config of [{ hiddenSize: 15 }, { numHeads: 0 }, { vocabSize: 10 }, { numKvHeads: 3 }]) expect(await refusal(make(config))).toMatchObject({ code: 'bad_config' });
    expect(existsSync(join(folder, 'refused'))).toBe(false);
  });
});

describe('adapters', () => {
  const config = { rank: 2, alpha: 4, targets: ['q_proj'], baseModel: 'base' };
  const weights = weightsInMemory([
    { name: 'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight', shape: [2, 3], data: Float32Array.from([1, 2, 3, 4, 5, 6]) },
    { name: 'base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight', shape: [3, 2], data: new Float32Array(6) },
  ]);

  it('come back as they were saved', () => {
    const path = join(folder, 'lora');
    saveAdapter(path, { config, weights });
    const adapter = openAdapter(path);
    expect(adapter.config).toEqual({ ...config, rslora: false });
    for (const name of weights.tensors.keys()) expect(adapter.read(name)).toEqual(weights.read(name));
    adapter.close();
  });

  it('of another kind are refused', () => {
    const path = join(folder, 'lora', 'adapter_config.json');
    for (const [json, code] of [[{ peft_type: 'IA3' }, 'unsupported'], [{ peft_type: 'LORA', r: 0 }, 'bad_checkpoint'], [{ peft_type: 'LORA', r: 2, lora_alpha: 4, target_modules: ['q'], use_dora: true }, 'unsupported'], [{ peft_type: 'LORA', r: 2, lora_alpha: 'x', target_modules: [] }, 'bad_checkpoint']] as const) {
      writeFileSync(path, JSON.stringify(json));
      expect(() => openAdapter(join(folder, 'lora'))).toThrow(expect.objectContaining({ code }));
    }
    expect(() => openAdapter(folder)).toThrow(expect.objectContaining({ code: 'not_found' }));
  });
});

const python = process.env.PYTHON || 'python3';
const hasTransformers = spawnSync(python, ['-c', 'import torch, transformers'], { stdio: 'ignore' }).status === 0;
const checker = fileURLToPath(new URL('../../../tools/fixtures/check-saved.py', import.meta.url));

describe.skipIf(!hasTransformers)('transformers (skipped where the Python that PYTHON names, or python3, has no torch and transformers)', () => {
  it('loads every folder that is saved here: weights equal, the same ids and prompts', { timeout: 600_000 }, async () => {
    const text = 'What is <|im_end|> 12?';
    const jobs: object[] = [];
    const expected: object[] = [];
    for (const name of [...models, 'gguf/smollm2.gguf', 'gguf/llama3-rope.gguf', 'gguf/qwen2.gguf', 'gguf/qwen3.gguf', 'gguf/gpt2.gguf']) {
      const checkpoint = await openCheckpoint(join(fixtures, name));
      const saved = join(folder, 'for-python', name);
      save(checkpoint, saved, formatOf(name));
      const { tokenizer } = checkpoint;
      jobs.push({ folder: saved, like: join(fixtures, name.replace(/^gguf\/(.*)\.gguf$/, '$1')), text });
      const chat = tokenizer.applyChatTemplate([{ role: 'user', content: text }], { addGenerationPrompt: true });
      expected.push({ folder: saved, missing: [], unexpected: [], different: [], textIds: [...tokenizer.encode(text)], special: { bos: 1, eos: 2, pad: 2 }, chat });
      checkpoint.close();
    }
    for (const [name, tokenizer] of [['bytes', byteTokenizer()], ['characters', characterTokenizer('What is12?<>|m_end ')]] as const) {
      const made = join(folder, `python-${name}`);
      await createModel(made, { config: { hiddenSize: 16, numLayers: 1, numHeads: 2, architecture: name === 'bytes' ? 'gpt2' : 'llama' }, tokenizer, seed: 3 });
      jobs.push({ folder: made, text: 'What is 12?<|end|>', ids: [4, 5, 6] });
      expected.push({ folder: made, missing: [], unexpected: [], textIds: [...tokenizer.encode('What is 12?<|end|>')] });
    }
    writeFileSync(join(folder, 'jobs.json'), JSON.stringify(jobs));
    const { status, stdout, stderr } = spawnSync(python, [checker, '--jobs', join(folder, 'jobs.json')], { encoding: 'utf8', env: { ...process.env, HF_HUB_OFFLINE: '1' } });
    expect(status, stdout + stderr).toBe(0);
    const reports = stdout.trim().split('\n').map((line) => JSON.parse(line) as object); // prettier-ignore
    expect(reports).toHaveLength(jobs.length);
    reports.forEach((report, i) => expect(report).toMatchObject(expected[i]));
  });
});
