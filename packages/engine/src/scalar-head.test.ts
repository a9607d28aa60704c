import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defineObjective, type Objective, type OutputName, type TokenBatch } from '@espalier/spec';
import { createDecoder, openCheckpoint, openSafetensors, parameterSpecs, toHf, withScalarHead, type WeightSource } from '@espalier/models';
import { memory, selectBackend } from '@espalier/tensor';
import { testBackend } from '@espalier/tensor/testing';
import { openEngine, type EngineOptions } from './engine';
import { fixture } from './test-support';
import { Training } from './training';

/** What transformers computed: tools/fixtures/make-scalar-head-fixtures.py. */
const expected = JSON.parse(readFileSync(`${fixture('scalar-head')}/expected.json`, 'utf8')) as Record<string, { inputs: number[][]; weights: number[][]; logits: number[] }>;
const numbers = openSafetensors(`${fixture('scalar-head')}/expected.safetensors`);
const names = ['llama', 'smollm2', 'mistral', 'qwen2', 'qwen3', 'gpt2'];

let folder: string;
beforeAll(async () => {
  await selectBackend(testBackend());
  folder = mkdtempSync(join(tmpdir(), 'espalier-scalar-head-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const made = (name: string) => {
  const path = join(folder, name);
  mkdirSync(path, { recursive: true });
  return path;
};
const open = (model: string, options: Partial<EngineOptions> = {}) => openEngine({ model, inline: true, backend: testBackend(), ...options });

/** Whole sequences, every token asked for, the first included; or from the second on. */
function packed(sequences: readonly (readonly number[])[], first = 0): TokenBatch {
  const offsets = Int32Array.from([0, ...sequences.map(((total) => (s: readonly number[]) => (total += s.length))(0))]);
  const actionIndex = Int32Array.from(sequences.flatMap((s, i) => s.slice(first).map((_, j) => offsets[i] + first + j)));
  return { tokens: Int32Array.from(sequences.flat()), offsets, actionIndex, columns: {}, normalizer: { tokens: actionIndex.length, sequences: sequences.length } };
}

function expectClose(actual: ArrayLike<number>, wanted: ArrayLike<number>, tolerance: number, what: string): void {
  expect(actual.length, what).toBe(wanted.length);
  for (let i = 0; i < actual.length; i++) expect(Math.abs(actual[i] - wanted[i]) / Math.max(1, Math.abs(wanted[i])), `${what} ${i}`).toBeLessThan(tolerance);
}

const readScores = (name: string) => expected[name].inputs.flatMap((_, i) => [...numbers.read(`${name}.scores.${i}`)]);

/** Loss = Σ weight · output, with the weights as a column. */
const weighted = (output: OutputName): Objective =>
  defineObjective({
    name: `weighted-${output}`,
    needs: [output],
    coupling: 'sequence',
    evaluate: (outputs, { columns: { weights } }) => ({ loss: outputs[output]!.reduce((sum, x, a) => sum + weights[a] * x, 0), grads: { [output]: weights }, metrics: {} }),
  });

describe('a scalar head', () => {
  it.each(names)('gives the scores and gradients of transformers: %s', async (name) => {
    const checkpoint = await openCheckpoint(fixture(name));
    const head = numbers.read(`${name}.score.weight`);
    const stored: WeightSource = {
      tensors: new Map([...checkpoint.tensors, ['score.weight', { name: 'score.weight', shape: [1, head.length], dtype: 'float32' }]]),
      read: (tensor, into) => (tensor === 'score.weight' ? head : checkpoint.read(tensor, into)),
    };
    const empty = memory().numTensors;
    const { config, weights } = withScalarHead(checkpoint.config, stored, 1);
    const decoder = createDecoder(config, weights);
    checkpoint.close();
    const training = new Training(decoder, null, () => undefined);
    const batch = { ...packed(expected[name].inputs), prefixOf: new Int32Array(expected[name].inputs.length).fill(-1) };
    const { tape, outputs } = training.tapeForward(batch, ['scores'], 1);
    expectClose(outputs.scores!, readScores(name), 1e-4, 'score');
    training.tapeBackward(tape, { scores: Float32Array.from(expected[name].weights.flat()) });
    const specs = new Map(parameterSpecs(config).map((spec) => [spec.name, spec]));
    const known = [...numbers.tensors.keys()].filter((key) => key.startsWith(`${name}.grad.`)).map((key) => key.slice(`${name}.grad.`.length));
    expect(known).toHaveLength(3);
    for (const parameter of known) expectClose(toHf(specs.get(parameter)!, Float32Array.from(training.gradients.get(parameter)!.dataSync())), numbers.read(`${name}.grad.${parameter}`), 1e-4, parameter);
    expect(training.gradients.has('lm_head.weight')).toBe(false);
    training.resetOptimizer();
    decoder.dispose();
    expect(memory().numTensors).toBe(empty);
  });

  it('reads what transformers saved for sequence classification, which has no language-model head', async () => {
    const engine = await open(`${fixture('scalar-head')}/checkpoint`);
    expect(engine.info.config).toMatchObject({ scalarHead: true, withoutLmHead: true, tieWordEmbeddings: false });
    expect(engine.learner.capabilities.outputs).toEqual(['values', 'scores']);
    const { scores } = await engine.learner.forward(packed(expected.checkpoint.inputs), ['scores']);
    expectClose(scores!, readScores('checkpoint'), 1e-5, 'score');
    expectClose([scores![4], scores![7]], expected.checkpoint.logits, 1e-5, 'pooled');
    await expect(engine.learner.forward(packed(expected.checkpoint.inputs, 1), ['logps'])).rejects.toMatchObject({ code: 'unsupported', message: expect.stringMatching(/no output "logps"/) as string });
    await expect(engine.score([Int32Array.of(4, 5)])).rejects.toMatchObject({ code: 'unsupported' });
    await engine.close();
  });

  it('gives values one token before scores, beside the log-probs of the model as it is', async () => {
    const sequences = expected.llama.inputs;
    const plain = await open(fixture('llama'));
    const engine = await open(fixture('llama'), { scalarHead: true, seed: 3 });
    const batch = packed(sequences, 1);
    const { values, logps } = await engine.learner.forward(batch, ['values', 'logps']);
    const { scores } = await engine.learner.forward(packed(sequences), ['scores']);
    let at = 0;
    const before = sequences.flatMap((s) => {
      const row = [...scores!.subarray(at, at + s.length - 1)];
      at += s.length;
      return row;
    });
    expectClose(values!, before, 1e-6, 'value');
    expect(logps).toEqual((await plain.learner.forward(batch, ['logps'])).logps);
    await expect(plain.learner.forward(batch, ['values'])).rejects.toMatchObject({ code: 'unsupported', message: expect.stringMatching(/scalarHead: true/) as string });
    await expect(engine.learner.forward(packed(sequences), ['scores', 'logps'])).rejects.toMatchObject({ code: 'bad_data', message: expect.stringMatching(/first token/) as string });
    await engine.close();
    await plain.close();
  });

  it('carries a shared prefix: the first token of a continuation has the value of the prefix', async () => {
    const engine = await open(fixture('qwen3'), { scalarHead: true, seed: 3 });
    const [prompt, a, b] = [[5, 9, 100], [7, 8], [30, 31, 32]];
    const shared: TokenBatch = { tokens: Int32Array.from([...prompt, ...a, ...b]), offsets: Int32Array.of(0, 3, 5, 8), prefixOf: Int32Array.of(-1, 0, 0), actionIndex: Int32Array.of(3, 4, 5, 6, 7), columns: {}, normalizer: { tokens: 5, sequences: 2 } };
    const apart = packed([[...prompt, ...a], [...prompt, ...b]], 3);
    for (const output of ['values', 'scores'] as const) expectClose((await engine.learner.forward(shared, [output]))[output]!, (await engine.learner.forward(apart, [output]))[output]!, 1e-5, output);
    await engine.close();
  });

  it('is the same for the same seed, and does not depend on how a batch is cut', async () => {
    const batch = packed(expected.gpt2.inputs);
    const scoresOf = async (seed: number, maxTokensPerMicroBatch: number) => {
      const engine = await open(fixture('gpt2'), { scalarHead: true, seed, maxTokensPerMicroBatch });
      const { scores } = await engine.learner.forward(batch, ['scores']);
      await engine.close();
      return scores!;
    };
    const whole = await scoresOf(4, 4096);
    expectClose(await scoresOf(4, 1), whole, 1e-6, 'score');
    expect(await scoresOf(5, 4096)).not.toEqual(whole);
  });

  it.each(['values', 'scores'] as const)('learns from %s, is saved with the optimiser, and goes on to the same bytes', async (output) => {
    const first = output === 'values' ? 1 : 0;
    const plain = packed(expected.llama.inputs, first);
    const batch: TokenBatch = { ...plain, columns: { weights: Float32Array.from(plain.actionIndex, (_, a) => ((a % 5) - 2) / 10) } };
    const engine = await open(fixture('llama'), { scalarHead: true, seed: 1 });
    const step = async (to = engine) => {
      const { loss } = await to.learner.forwardBackward(batch, weighted(output));
      await to.learner.optimStep({ learningRate: 1e-3, weightDecay: 0.01 });
      return loss;
    };
    const start = await step();
    await step();
    const { numTensors } = await engine.memory();
    for (let i = 0; i < 3; i++) await step();
    expect((await engine.memory()).numTensors).toBe(numTensors);
    const path = made(`checkpoint-${output}`);
    await engine.learner.save(path);
    const later = [await step(), await step()];
    expect(later[1]).toBeLessThan(start);
    const again = await open(fixture('llama'), { scalarHead: true, seed: 99 });
    await again.learner.load(path);
    expect([await step(again), await step(again)]).toEqual(later);
    const [a, b] = await Promise.all([engine.learner.publish(), again.learner.publish()]);
    expect(a.digest).toBe(b.digest);
    const bare = await open(fixture('llama'));
    await expect(bare.learner.load(path)).rejects.toMatchObject({ code: 'bad_checkpoint' });
    for (const opened of [engine, again, bare]) await opened.close();
  });

  it('stays with the folder that it was saved in, and can be left out again', async () => {
    const engine = await open(fixture('qwen2'), { scalarHead: true, seed: 2 });
    const batch = packed(expected.qwen2.inputs);
    const { scores } = await engine.learner.forward(batch, ['scores']);
    const path = join(folder, 'kept');
    await engine.save(path);
    await engine.close();
    expect(JSON.parse(readFileSync(join(path, 'config.json'), 'utf8'))).toMatchObject({ architectures: ['Qwen2ForSequenceClassification'], id2label: { 0: 'LABEL_0' }, label2id: { LABEL_0: 0 } });
    const again = await open(path);
    expect((await again.learner.forward(batch, ['scores'])).scores).toEqual(scores);
    await again.close();
    const without = await open(path, { scalarHead: false });
    expect(without.learner.capabilities.outputs).not.toContain('scores');
    await without.save(join(folder, 'left-out'));
    await without.close();
    const config = JSON.parse(readFileSync(join(folder, 'left-out', 'config.json'), 'utf8')) as Record<string, unknown>;
    expect(config.architectures).toEqual(['Qwen2ForCausalLM']);
    expect(config).not.toHaveProperty('id2label');
  });

  it('is trained whole beside LoRA, saved in the adapter, and merged with it', async () => {
    const options = { scalarHead: true, seed: 1, lora: { rank: 2 } };
    const engine = await open(fixture('llama'), options);
    const plain = packed(expected.llama.inputs);
    const batch: TokenBatch = { ...plain, columns: { weights: Float32Array.from(plain.actionIndex, (_, a) => (a % 3) - 1) } };
    for (let i = 0; i < 2; i++) {
      await engine.learner.forwardBackward(batch, weighted('scores'));
      await engine.learner.optimStep({ learningRate: 1e-2 });
    }
    const { scores } = await engine.learner.forward(plain, ['scores']);
    const path = made('adapter');
    await engine.save(path);
    expect(JSON.parse(readFileSync(join(path, 'adapter_config.json'), 'utf8'))).toMatchObject({ task_type: 'SEQ_CLS', modules_to_save: ['score'] });
    await engine.save(join(folder, 'merged'), { merge: true });
    await engine.close();
    const again = await open(fixture('llama'), { ...options, seed: 7 });
    await again.learner.load(path);
    expect((await again.learner.forward(plain, ['scores'])).scores).toEqual(scores);
    await again.close();
    const merged = await open(join(folder, 'merged'));
    expectClose((await merged.learner.forward(plain, ['scores'])).scores!, scores!, 1e-5, 'score');
    await merged.close();
  });

  it('refuses the head of a classifier with more labels', async () => {
    const checkpoint = await openCheckpoint(fixture('llama'));
    const labels: WeightSource = { tensors: new Map([...checkpoint.tensors, ['score.weight', { name: 'score.weight', shape: [3, 24], dtype: 'float32' }]]), read: (name) => checkpoint.read(name) };
    expect(() => withScalarHead(checkpoint.config, labels, 1)).toThrow(/3 labels/);
    checkpoint.close();
  });
});

const python = process.env.PYTHON || 'python3';
const hasTransformers = spawnSync(python, ['-c', 'import torch, transformers, peft'], { stdio: 'ignore' }).status === 0;
const checker = fileURLToPath(new URL('../../../tools/fixtures/check-saved.py', import.meta.url));

describe.skipIf(!hasTransformers)('transformers (skipped where the Python that PYTHON names, or python3, has no torch, transformers and peft)', () => {
  it('loads what is saved here for sequence classification, and gives the same scores', { timeout: 600_000 }, async () => {
    const jobs: object[] = [];
    const scores: number[] = [];
    const ids = [5, 9, 100, 7, 44];
    for (const name of names) {
      const path = join(folder, `python-${name}`);
      const engine = await open(fixture(name), { scalarHead: true, seed: 5 });
      await engine.save(path);
      scores.push((await engine.learner.forward(packed([ids]), ['scores'])).scores![4]);
      await engine.close();
      jobs.push({ folder: path, ids, scalar: true });
    }
    const engine = await open(fixture('llama'), { scalarHead: true, seed: 5, lora: { rank: 2 } });
    const plain = packed([ids]);
    await engine.learner.forwardBackward({ ...plain, columns: { weights: Float32Array.of(0, 1, 0, 0, 1) } }, weighted('scores'));
    await engine.learner.optimStep({ learningRate: 0.1 });
    await engine.save(made('python-adapter'));
    scores.push((await engine.learner.forward(plain, ['scores'])).scores![4]);
    await engine.close();
    jobs.push({ folder: fixture('llama'), adapter: join(folder, 'python-adapter'), ids, scalar: true });
    writeFileSync(join(folder, 'jobs.json'), JSON.stringify(jobs));
    const { stdout, stderr } = spawnSync(python, [checker, '--jobs', join(folder, 'jobs.json')], { encoding: 'utf8', env: { ...process.env, HF_HUB_OFFLINE: '1' } });
    const reports = stdout.trim().split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as { missing: string[]; unexpected: string[]; logits: number[] }); // prettier-ignore
    expect(reports.length, stderr).toBe(jobs.length);
    reports.forEach((report, i) => expectClose(report.logits, [scores[i]], 1e-5, JSON.stringify(jobs[i])));
    for (const { missing, unexpected } of reports.slice(0, names.length)) expect([missing, unexpected.filter((name) => name !== 'lm_head.weight')]).toEqual([[], []]); // the other head is not its concern
  });
});
