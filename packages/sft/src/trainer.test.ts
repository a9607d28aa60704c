import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { arithmeticTask } from '@espalier/data';
import { openEngine } from '@espalier/engine';
import { characterTokenizer, createModel } from '@espalier/models';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SFTTrainer, type SFTTrainerOptions } from './trainer';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-sft-'));
  await createModel(join(dir, 'model'), { config: { hiddenSize: 16, numLayers: 2, numHeads: 2, maxPositions: 64 }, tokenizer: characterTokenizer('0123456789+= '), seed: 1 });
});
afterAll(async () => rm(dir, { recursive: true, force: true }));

const rows = arithmeticTask({ difficulty: 1, format: 'text', template: '{expression}=', size: 24, withCompletion: true });
const trainer = (name: string, args: SFTTrainerOptions['args'] = {}, more: Partial<SFTTrainerOptions> = {}) =>
  new SFTTrainer({ model: join(dir, 'model'), trainDataset: rows, inline: true, args: { outputDir: join(dir, name), maxSteps: 6, learningRate: 3e-3, loggingSteps: 2, saveSteps: 2, ...args }, ...more });
const weights = async (name: string, step: number) => (await readFile(join(dir, name, 'checkpoints', `step-${String(step).padStart(6, '0')}`, 'model.safetensors'))).toString('base64');

describe('SFTTrainer on a small model', () => {
  it('lowers the loss, says the perplexity, and leaves a model that opens', async () => {
    const run = trainer('learns', { maxSteps: 30, learningRate: 1e-2, saveStrategy: 'no' }, { evalDataset: rows });
    const before = await run.evaluate();
    expect(before.perplexity).toBeCloseTo(Math.exp(before.loss), 5);
    await run.train();
    const after = await run.evaluate();
    expect(after.loss).toBeLessThan(0.6 * before.loss);
    await run.saveModel(join(dir, 'saved'));
    await run.close();
    const again = trainer('again', {}, { model: join(dir, 'saved'), evalDataset: rows });
    expect((await again.evaluate()).loss).toBeCloseTo(after.loss, 5);
    await again.close();
  });

  it('pre-trains on plain text, every token of it', async () => {
    let tokens = 0;
    const run = trainer('text', { maxSteps: 1, perDeviceTrainBatchSize: 2, saveStrategy: 'no' }, { trainDataset: [{ text: '1+1=2' }, { text: '2+2=4' }], callbacks: [{ onStep: ({ numTokens }) => void (tokens = numTokens) }] });
    await run.train();
    await run.close();
    expect(tokens).toBe(12); // five characters and the end of sequence, twice
  });

  it('goes on after an interruption to the same bytes', async () => {
    const straight = trainer('straight');
    await straight.train();
    await straight.close();
    const controller = new AbortController();
    const first = trainer('stopped', {}, { callbacks: [{ onStep: ({ step }) => void (step === 3 && controller.abort()) }] });
    await expect(first.train({ signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
    await first.close();
    const second = trainer('stopped');
    await second.train({ resume: true });
    await second.close();
    expect(await weights('stopped', 6)).toBe(await weights('straight', 6));
  });

  it('accumulation changes nothing: 8 × 1 is 1 × 8', async () => {
    const norms = async (name: string, perDeviceTrainBatchSize: number, gradientAccumulationSteps: number) => {
      const list: number[] = [];
      const run = trainer(name, { perDeviceTrainBatchSize, gradientAccumulationSteps, maxSteps: 3, saveStrategy: 'no' }, { callbacks: [{ onStep: (_, { loss, grad_norm }) => void list.push(loss, grad_norm) }] });
      await run.train();
      await run.close();
      return list;
    };
    const [whole, parts] = [await norms('whole', 8, 1), await norms('parts', 1, 8)];
    whole.forEach((value, i) => expect(parts[i]).toBeCloseTo(value, 4));
  });

  it('holds no tensor longer at the last step than at the second', async () => {
    const engine = await openEngine({ model: join(dir, 'model'), inline: true });
    const counts: number[] = [];
    const run = trainer('leak', { maxSteps: 8, saveStrategy: 'no' }, { model: engine, callbacks: [{ onStep: async () => void counts.push((await engine.memory()).numTensors) }] });
    await run.train();
    await run.close();
    expect(counts.slice(1)).toEqual(new Array(7).fill(counts[1]));
    await engine.close();
  });

  it('names file, line and field of a wrong row', async () => {
    const file = join(dir, 'rows.jsonl');
    await writeFile(file, '{"prompt": "1+1=", "completion": "2"}\n{"prompt": "1+1=", "completion": 2}\n');
    const run = trainer('bad', {}, { trainDataset: file });
    await expect(run.train()).rejects.toMatchObject({ code: 'bad_data', message: expect.stringMatching(/rows\.jsonl:2: `completion`/) as string });
    await run.close();
    expect(() => trainer('bad', { learningRate: -1 })).toThrow(/`learning_rate`: .*found -1/);
  });
});
