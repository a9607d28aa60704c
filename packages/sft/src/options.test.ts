import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { arithmeticTask, streamFiles } from '@espalier/data';
import { openEngine } from '@espalier/engine';
import { characterTokenizer, createModel } from '@espalier/models';
import type { Metrics, Notice } from '@espalier/spec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SFTTrainer, type SFTTrainerOptions } from './trainer';

let dir: string;
const rows = arithmeticTask({ difficulty: 1, format: 'text', template: '{expression}=', size: 60, withCompletion: true });
const all = Array.from({ length: rows.size }, (_, i) => rows.row(i));
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-sft-options-'));
  await createModel(join(dir, 'model'), { config: { hiddenSize: 16, numLayers: 2, numHeads: 2, maxPositions: 64 }, tokenizer: characterTokenizer('0123456789+= '), seed: 1 });
  for (const part of [0, 1]) await writeFile(join(dir, `part-${part}.jsonl`), all.slice(part * 30, part * 30 + 30).map((row) => `${JSON.stringify(row)}\n`).join(''));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const trainer = (name: string, args: SFTTrainerOptions['args'] = {}, more: Partial<SFTTrainerOptions> = {}) =>
  new SFTTrainer({ model: join(dir, 'model'), trainDataset: rows, inline: true, modelArgs: { bf16: false }, args: { outputDir: join(dir, name), maxSteps: 6, learningRate: 3e-3, loggingSteps: 2, saveSteps: 2, ...args }, ...more });
const weights = async (name: string, step: number) => (await readFile(join(dir, name, 'checkpoints', `step-${String(step).padStart(6, '0')}`, 'model.safetensors'))).toString('base64');
const corpus = () => streamFiles(join(dir, 'part-*.jsonl'), { seed: 4, bufferSize: 16 });

/** Runs to the end, and again with an abort and a resume; both must leave the same bytes. */
async function sameAfterAbort(name: string, make: (name: string, more?: Partial<SFTTrainerOptions>) => Promise<SFTTrainer>): Promise<void> {
  const straight = await make(`${name}-straight`);
  await straight.train();
  await straight.close();
  for (const at of [1, 3]) {
    const controller = new AbortController();
    const first = await make(`${name}-${at}`, { callbacks: [{ onStep: ({ step }) => void (step === at && controller.abort()) }] });
    await expect(first.train({ signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
    await first.close();
    const second = await make(`${name}-${at}`);
    await second.train({ resume: true });
    await second.close();
    expect(await weights(`${name}-${at}`, 6), `stopped after step ${at}`).toBe(await weights(`${name}-straight`, 6));
  }
}

async function record(name: string, args: SFTTrainerOptions['args'], more: Partial<SFTTrainerOptions> = {}): Promise<Metrics[]> {
  const steps: Metrics[] = [];
  const run = trainer(name, { saveStrategy: 'no', ...args }, { callbacks: [{ onStep: (_, metrics) => void steps.push(metrics) }], ...more });
  await run.train();
  await run.close();
  return steps;
}

describe('accumulation: 8 × 1 is 1 × 8 over 50 steps, pointwise and in the mean', () => {
  it.each([['nll', {}], ['dft', { lossType: 'dft' as const }], ['packed', { packing: true, maxLength: 24, numTrainEpochs: 1 }]] as const)('%s', async (name, args) => {
    const run = (size: number, accumulation: number) => record(`${name}-${size}x${accumulation}`, { ...args, maxSteps: 50, perDeviceTrainBatchSize: size, gradientAccumulationSteps: accumulation });
    const [whole, parts] = [await run(8, 1), await run(1, 8)];
    expect(parts).toHaveLength(50);
    const residuals = whole.map(({ loss }, i) => parts[i].loss - loss);
    residuals.forEach((residual, i) => expect(Math.abs(residual), `step ${i + 1}`).toBeLessThanOrEqual(1e-4 * Math.max(1, Math.abs(whole[i].loss))));
    whole.forEach(({ grad_norm }, i) => expect(Math.abs(parts[i].grad_norm - grad_norm)).toBeLessThanOrEqual(1e-3 * Math.max(1, grad_norm)));
    expect(Math.abs(residuals.reduce((a, b) => a + b, 0) / residuals.length)).toBeLessThanOrEqual(1e-5);
    expect(whole[49].nll).toBeLessThan(whole[0].nll);
  });
});

describe('a corpus as a stream', () => {
  it('goes on after an interruption to the same bytes, over the end of a pass', () => sameAfterAbort('stream', async (name, more) => trainer(name, { perDeviceTrainBatchSize: 13 }, { trainDataset: await corpus(), ...more })));
  it('packed too', () => sameAfterAbort('packed-stream', async (name, more) => trainer(name, { packing: true, maxLength: 32, perDeviceTrainBatchSize: 3 }, { trainDataset: await corpus(), ...more })));

  it('gives every row once a pass, and wants `maxSteps`', async () => {
    const seen: number[] = [];
    const run = trainer('passes', { maxSteps: 5, perDeviceTrainBatchSize: 16, saveStrategy: 'no' }, { trainDataset: await corpus(), callbacks: [{ onStep: ({ numTokens, epoch }) => void seen.push(numTokens, epoch) }] });
    await run.train();
    await run.close();
    const whole = trainer('whole', { maxSteps: 4, perDeviceTrainBatchSize: 16, saveStrategy: 'no' }, { callbacks: [{ onStep: ({ step, numTokens }) => void (step === 4 && seen.push(numTokens)) }] });
    await whole.train();
    await whole.close();
    expect(seen[6]).toBe(seen[10]); // four steps of 16, 16, 16 and 12 rows are one pass
    expect(seen[7]).toBe(1);
    const endless = trainer('endless', { maxSteps: -1 }, { trainDataset: await corpus() });
    await expect(endless.train()).rejects.toThrow('`max_steps` is not set');
    await endless.close();
  });

  it('another corpus is refused on resume', async () => {
    const first = trainer('other', { maxSteps: 2 }, { trainDataset: await corpus() });
    await first.train();
    await first.close();
    const second = trainer('other', { maxSteps: 4 }, { trainDataset: await streamFiles(join(dir, 'part-0.jsonl'), { seed: 4, bufferSize: 16 }) });
    await expect(second.train({ resume: true })).rejects.toThrow(/cannot resume .*`dataset/);
    await second.close();
  });
});

describe('packing', () => {
  it('goes on after an interruption to the same bytes, and leaks nothing', async () => {
    await sameAfterAbort('packed', async (name, more) => trainer(name, { packing: true, maxLength: 32, perDeviceTrainBatchSize: 3, shuffleDataset: true }, more));
    const engine = await openEngine({ model: join(dir, 'model'), inline: true });
    const counts: number[] = [];
    await record('leak', { packing: true, packingStrategy: 'wrapped', maxLength: 32, neftuneNoiseAlpha: 5, maxSteps: 8 }, { model: engine, callbacks: [{ onStep: async () => void counts.push((await engine.memory()).numTensors) }] });
    expect(counts.slice(1)).toEqual(new Array(7).fill(counts[1]));
    await engine.close();
  });

  it('documents do not see one another: packed rows have the loss of the same rows unpacked', async () => {
    const run = trainer('apart', { packing: true, maxLength: 64, perDeviceEvalBatchSize: 4 }, { evalDataset: rows });
    const unpacked = trainer('apart', { evalPacking: false, maxLength: 64, perDeviceEvalBatchSize: 7 }, { evalDataset: rows });
    const [packed, apart] = [await run.evaluate(), await unpacked.evaluate()];
    expect(packed.loss).toBeCloseTo(apart.loss, 5);
    await run.close();
    await unpacked.close();
  });

  it('names what does not go together', () => {
    expect(() => trainer('bad', { packing: true, maxLength: null })).toThrow('`packing` needs a `max_length`');
    expect(() => trainer('bad', { packing: true, truncationMode: 'keep_end' })).toThrow('`truncation_mode` keep_end does not go with `packing`');
    expect(() => trainer('bad', { packingStrategy: 'ffd' as 'bfd' })).toThrow('`packing_strategy`');
  });
});

describe('NEFTune', () => {
  it('is noise in training alone, another one each step, and the same after a resume', async () => {
    await sameAfterAbort('noise', async (name, more) => trainer(name, { neftuneNoiseAlpha: 5 }, more));
    const [clean] = await record('clean', { maxSteps: 1, learningRate: 0 });
    const [first, second] = await record('noisy', { maxSteps: 2, learningRate: 0, perDeviceTrainBatchSize: 60, neftuneNoiseAlpha: 5 });
    expect(first.loss).not.toBe(clean.loss);
    expect(second.loss).not.toBe(first.loss);
    const quiet = trainer('quiet', {}, { evalDataset: rows });
    const noisy = trainer('quiet', { neftuneNoiseAlpha: 5 }, { evalDataset: rows });
    expect((await noisy.evaluate()).loss).toBe((await quiet.evaluate()).loss);
    await quiet.close();
    await noisy.close();
  });
});

describe('parameter groups', () => {
  it('a learning rate of 0 leaves what matches as it is', async () => {
    const engine = await openEngine({ model: join(dir, 'model'), inline: true });
    const run = trainer('groups', { maxSteps: 2, parameterGroups: [{ match: 'mlp', learningRateScale: 0, weightDecay: 0 }] }, { model: engine });
    await run.train();
    await run.close();
    await engine.close();
    const { openSafetensors } = await import('@espalier/models');
    const [before, after] = [openSafetensors(join(dir, 'model/model.safetensors')), openSafetensors(join(dir, 'groups/checkpoints/step-000002/model.safetensors'))];
    const same = (name: string) => Buffer.from(before.read(name).buffer).equals(Buffer.from(after.read(name).buffer));
    expect(same('model.layers.0.mlp.up_proj.weight')).toBe(true);
    expect(same('model.layers.0.self_attn.q_proj.weight')).toBe(false);
    expect(() => trainer('groups', { parameterGroups: [{ match: '(' }] })).toThrow(/`parameter_groups\.0\.match`: must be a regular expression/);
  });
});

describe('what is odd about rows is said once', () => {
  it('a turn that does not end with a special token', async () => {
    const model = join(dir, 'chat');
    await createModel(model, { config: { hiddenSize: 16, numLayers: 1, numHeads: 2, maxPositions: 64 }, tokenizer: characterTokenizer('0123456789+= dumy'), seed: 1 });
    await writeFile(join(model, 'chat_template.jinja'), "{% for m in messages %}{{ m.content + ' ' }}{% endfor %}");
    const notices: Notice[] = [];
    const conversations = all.slice(0, 4).map(({ prompt, completion }) => ({ messages: [{ role: 'user', content: prompt }, { role: 'assistant', content: completion }] }));
    const run = trainer('odd', { maxSteps: 3, saveStrategy: 'no' }, { model, trainDataset: conversations, callbacks: [{ onNotice: (_, notice) => void notices.push(notice) }] });
    await run.train();
    await run.close();
    expect(notices).toMatchObject([{ name: 'stop_token_not_trained', level: 'warning', step: 0 }]);
    const log = (await readFile(join(dir, 'odd/log.jsonl'), 'utf8')).trim().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(log.filter(({ event }) => event === 'warning')).toMatchObject([{ name: 'stop_token_not_trained' }]);
  });
});
