import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Random } from '@espalier/data';
import { openEngine } from '@espalier/engine';
import { characterTokenizer, createModel } from '@espalier/models';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { CPOTrainer, DPOTrainer, KTOTrainer, ORPOTrainer, type CPOTrainerOptions, type DPOTrainerOptions, type KTOTrainerOptions, type ORPOTrainerOptions } from './index';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-dpo-'));
  await createModel(join(dir, 'model'), { config: { hiddenSize: 16, numLayers: 2, numHeads: 2, maxPositions: 64 }, tokenizer: characterTokenizer('0123456789+= '), seed: 1 });
});
afterAll(async () => rm(dir, { recursive: true, force: true }));

/** Odd digits are preferred to even ones. */
function preferences(count: number, seed: number) {
  const random = new Random(seed);
  const digits = (of: readonly string[]) => Array.from({ length: random.int(2, 5) }, () => random.pick(of)).join('');
  return Array.from({ length: count }, () => ({ prompt: `${random.int(0, 99)}+${random.int(0, 99)}=`, chosen: digits(['1', '3', '5', '7', '9']), rejected: digits(['0', '2', '4', '6', '8']) }));
}
/** The same completions, each on its own, good and bad in turn. */
const unpaired = (count: number, seed: number) => preferences(count / 2, seed).flatMap(({ prompt, chosen, rejected }) => [{ prompt, completion: chosen, label: true }, { prompt, completion: rejected, label: false }]);
const rows = preferences(24, 1);
const common = { perDeviceTrainBatchSize: 8, maxSteps: 6, learningRate: 3e-3, loggingSteps: 2, saveSteps: 2 };
type Args = Record<string, unknown>;
type More = Partial<Omit<DPOTrainerOptions, 'args'>>;

const kinds = {
  dpo: (name: string, args: Args = {}, more: More = {}) => new DPOTrainer({ model: join(dir, 'model'), trainDataset: rows, inline: true, args: { outputDir: join(dir, name), ...common, ...(args as DPOTrainerOptions['args']) }, ...more }),
  kto: (name: string, args: Args = {}, more: More = {}) => new KTOTrainer({ model: join(dir, 'model'), trainDataset: unpaired(48, 1), inline: true, args: { outputDir: join(dir, name), ...common, ...(args as KTOTrainerOptions['args']) }, ...more }),
  cpo: (name: string, args: Args = {}, more: More = {}) => new CPOTrainer({ model: join(dir, 'model'), trainDataset: rows, inline: true, args: { outputDir: join(dir, name), ...common, ...(args as CPOTrainerOptions['args']) }, ...more }),
  orpo: (name: string, args: Args = {}, more: More = {}) => new ORPOTrainer({ model: join(dir, 'model'), trainDataset: rows, inline: true, args: { outputDir: join(dir, name), ...common, ...(args as ORPOTrainerOptions['args']) }, ...more }),
};
type Kind = keyof typeof kinds;
const names = Object.keys(kinds) as Kind[];
const steps = async (kind: Kind, name: string, args: Args, more: More = {}) => {
  const list: [number, number][] = [];
  const run = kinds[kind](name, { saveStrategy: 'no', ...args }, { ...more, callbacks: [{ onStep: (_, { loss, grad_norm }) => void list.push([loss, grad_norm]) }] });
  await run.train();
  await run.close();
  return list;
};

describe('learning', () => {
  it.each(names)('%s tells preferred completions from others on held-out pairs', async (kind) => {
    const run = kinds[kind](`${kind}-learns`, { maxSteps: 40, learningRate: 1e-2, saveStrategy: 'no' }, { evalDataset: kind === 'kto' ? unpaired(128, 2) : preferences(64, 2) });
    const before = await run.evaluate();
    const { metrics } = await run.train();
    const after = await run.evaluate();
    await run.close();
    expect(after.loss).toBeLessThan(before.loss);
    expect(after['rewards/margins']).toBeGreaterThan(before['rewards/margins']);
    if (kind !== 'kto') expect(after['rewards/accuracies']).toBeGreaterThanOrEqual(0.95);
    const logged = ['rewards/chosen', 'rewards/rejected', 'rewards/margins', 'logps/chosen', 'logps/rejected', 'entropy', 'loss', 'grad_norm', 'learning_rate', 'num_tokens'];
    for (const name of [...logged, ...{ dpo: ['rewards/accuracies'], kto: ['kl'], cpo: ['rewards/accuracies', 'nll_loss'], orpo: ['nll_loss', 'log_odds_ratio', 'log_odds_chosen'] }[kind]]) expect(metrics, name).toHaveProperty([name]);
  });

  it('the first DPO step has the loss ln 2 and no margin', async () => {
    const run = kinds.dpo('begins', {}, { evalDataset: rows });
    const { loss, ...metrics } = await run.evaluate();
    await run.close();
    expect(loss).toBeCloseTo(Math.LN2, 6);
    expect(metrics['rewards/margins']).toBeCloseTo(0, 6);
  });
});

describe('resume', () => {
  const variants: [string, Kind, Args, More][] = [
    ...names.map((kind): [string, Kind, Args, More] => [kind, kind, {}, {}]),
    ['dpo-precomputed', 'dpo', { precomputeRefLogProbs: true }, { evalDataset: rows.slice(0, 5) }],
    ['kto-precomputed', 'kto', { precomputeRefLogProbs: true }, {}],
    ['dpo-synced', 'dpo', { syncRefModel: true, refModelSyncSteps: 1, refModelMixupAlpha: 0.5 }, {}],
    ['dpo-adapter', 'dpo', {}, { modelArgs: { usePeft: true, loraR: 4 } }],
    ['kto-adapter', 'kto', { precomputeRefLogProbs: true }, { modelArgs: { usePeft: true, loraR: 4 } }],
    ['dpo-other', 'dpo', { gradientAccumulationSteps: 2, perDeviceTrainBatchSize: 4, useWeighting: true }, { refModel: 'the first weights' }],
  ];
  it.each(variants)('%s goes on after an interruption to the same bytes', async (name, kind, args, given) => {
    const more = given.refModel ? { ...given, refModel: join(dir, 'model') } : given; // the folder is known when the tests run
    const file = name.endsWith('-adapter') ? 'adapter_model.safetensors' : 'model.safetensors';
    const bytes = async (run: string) => (await readFile(join(dir, run, 'checkpoints', 'step-000006', file))).toString('base64');
    const straight = kinds[kind](`${name}-straight`, args, more);
    await straight.train();
    await straight.close();
    const controller = new AbortController();
    const first = kinds[kind](`${name}-stopped`, args, { ...more, callbacks: [{ onStep: ({ step }) => void (step === 3 && controller.abort()) }] });
    await expect(first.train({ signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
    await first.close();
    const second = kinds[kind](`${name}-stopped`, args, more);
    await second.train({ resume: true });
    await second.close();
    expect(await bytes(`${name}-stopped`)).toBe(await bytes(`${name}-straight`));
  });

  it('numbers that were computed beforehand are kept with the run, and used again', async () => {
    const args = { precomputeRefLogProbs: true, maxSteps: 2 };
    const first = kinds.dpo('kept', args);
    await first.train();
    await first.close();
    const [file] = (await readdir(join(dir, 'kept'))).filter((name) => name.startsWith('reference-logps-'));
    const numbers = await readFile(join(dir, 'kept', file));
    await writeFile(join(dir, 'kept', file), Buffer.alloc(numbers.length)); // a reference that finds everything certain
    const second = kinds.dpo('kept', { ...args, maxSteps: 4 });
    const { metrics } = await second.train({ resume: true });
    await second.close();
    expect(metrics['rewards/chosen']).toBeLessThan(-0.3);
  });
});

describe('accumulation changes nothing: 8 × 1 is 1 × 8 over 50 steps', () => {
  const variants: [string, Kind, Args][] = [
    ['dpo sigmoid', 'dpo', {}],
    ['dpo mixture', 'dpo', { lossType: ['ipo', 'sft', 'apo_zero'], lossWeights: [0.01, 0.5, 1] }],
    ['dpo with LD and WPO', 'dpo', { ldAlpha: 0.5, useWeighting: true }],
    ['kto without a KL', 'kto', { lossType: 'apo_zero_unpaired' }],
    ['cpo', 'cpo', {}],
    ['simpo', 'cpo', { lossType: 'simpo' }],
    ['orpo', 'orpo', {}],
  ];
  it.each(variants)('%s', async (name, kind, args) => {
    const rest: Args = { ...args, maxSteps: 50, learningRate: 1e-3 };
    const whole = await steps(kind, `${name}-whole`, { ...rest, perDeviceTrainBatchSize: 8, gradientAccumulationSteps: 1 });
    const parts = await steps(kind, `${name}-parts`, { ...rest, perDeviceTrainBatchSize: 1, gradientAccumulationSteps: 8 });
    const residuals = whole.map(([loss], i) => parts[i][0] - loss);
    whole.forEach(([loss, norm], i) => {
      expect(Math.abs(residuals[i])).toBeLessThan(1e-4 * Math.max(1, Math.abs(loss)));
      expect(Math.abs(parts[i][1] - norm)).toBeLessThan(1e-3 * Math.max(1, norm));
    });
    expect(Math.abs(residuals.reduce((a, b) => a + b, 0) / 50)).toBeLessThan(1e-5);
  });
});

describe('the engine may cut a batch further', () => {
  it.each(names)('%s', async (kind) => {
    const stepsOf = async (maxTokensPerMicroBatch: number) => {
      const engine = await openEngine({ model: join(dir, 'model'), inline: true, reference: true, maxTokensPerMicroBatch });
      const found = await steps(kind, `${kind}-cut-${maxTokensPerMicroBatch}`, { maxSteps: 4 }, { model: engine });
      await engine.close();
      return found;
    };
    const [whole, parts] = [await stepsOf(1024), await stepsOf(12)];
    whole.forEach(([loss, norm], i) => {
      expect(Math.abs(parts[i][0] - loss)).toBeLessThan(1e-4 * Math.max(1, Math.abs(loss)));
      expect(Math.abs(parts[i][1] - norm)).toBeLessThan(1e-3 * Math.max(1, norm));
    });
  });
});

describe('the reference', () => {
  it('gives the same steps as a copy and as numbers computed beforehand', async () => {
    for (const kind of ['dpo', 'kto'] as const) {
      const copy = await steps(kind, `${kind}-copy`, { maxSteps: 4 });
      const numbers = await steps(kind, `${kind}-numbers`, { maxSteps: 4, precomputeRefLogProbs: true, precomputeRefBatchSize: 5 });
      copy.forEach(([loss, norm], i) => {
        expect(numbers[i][0]).toBeCloseTo(loss, 5);
        expect(numbers[i][1]).toBeCloseTo(norm, 4);
      });
    }
  });

  it('is asked once about each pair, in the first epoch and the first evaluation', async () => {
    const asked = async (args: Args) => {
      const engine = await openEngine({ model: join(dir, 'model'), inline: true, reference: true });
      const forward = vi.spyOn(engine.learner, 'forward');
      const run = kinds.dpo(`asked-${Object.keys(args).length}`, { saveStrategy: 'no', ...args }, { model: engine, evalDataset: preferences(5, 3) });
      await run.evaluate();
      await run.train(); // two epochs of three steps
      const { loss } = await run.evaluate();
      await run.close();
      const backend = engine.info.backend;
      await engine.close();
      return { calls: forward.mock.calls.filter(([, , options]) => options?.reference).length, loss, backend };
    };
    const still = await asked({});
    const moving = await asked({ syncRefModel: true, refModelSyncSteps: 100 });
    expect(moving.calls).toBe(1 + 6 + 1);
    expect(still.calls).toBe(still.backend === 'native' ? 1 + 3 : 1 + 6 + 1); // elsewhere a row may differ by its batch, and a resumed run would go on to other bytes
    expect(still.loss).toBe(moving.loss);
  });

  it('may be another model, which gives what a copy of it would', async () => {
    const copy = await steps('dpo', 'own-copy', { maxSteps: 3 });
    const other = await steps('dpo', 'other-model', { maxSteps: 3 }, { refModel: join(dir, 'model') });
    copy.forEach(([loss], i) => expect(other[i][0]).toBeCloseTo(loss, 6));
  });

  it('that follows the policy all the way leaves no margin', async () => {
    const run = kinds.dpo('follows', { syncRefModel: true, refModelSyncSteps: 1, refModelMixupAlpha: 1, maxSteps: 3, saveStrategy: 'no' }, { evalDataset: rows });
    await run.train();
    const metrics = await run.evaluate();
    await run.close();
    expect(metrics.loss).toBeCloseTo(Math.LN2, 5);
  });

  it.each([
    [() => kinds.dpo('bad', { syncRefModel: true, precomputeRefLogProbs: true }), /`sync_ref_model` moves the reference/],
    [() => kinds.dpo('bad', { syncRefModel: true }, { modelArgs: { usePeft: true } }), /without its adapter/],
    [() => kinds.dpo('bad', { beta: -1 }), /`beta`: .*found -1/],
    [() => kinds.dpo('bad', { lossType: 'apo_zero', fDivergenceType: 'forward_kl' }), /has no form/],
    [() => kinds.kto('bad', { perDeviceTrainBatchSize: 1 }), /`per_device_train_batch_size` 1: .*2 or more/],
    [() => kinds.kto('bad', { trainSamplingStrategy: 'random' }), /`train_sampling_strategy` random/],
    [() => kinds.cpo('bad', { lossType: 'kto_pair' }), /`loss_type`: /],
  ])('a contradiction is named: %#', (call, message) => expect(call).toThrow(message));
});

describe('rows', () => {
  it('names file, line and field of a wrong row', async () => {
    const file = join(dir, 'rows.jsonl');
    await writeFile(file, '{"prompt": "1+1=", "chosen": "2", "rejected": "3"}\n{"prompt": "1+1=", "chosen": 2, "rejected": "3"}\n');
    for (const kind of names) {
      const run = kinds[kind](`bad-rows-${kind}`, {}, { trainDataset: file });
      await expect(run.train()).rejects.toMatchObject({ code: 'bad_data', message: expect.stringMatching(/rows\.jsonl:2: `chosen`/) as string });
      await run.close();
    }
  });
});

describe('memory', () => {
  it.each([...names, 'precomputed', 'synced'] as const)('%s holds no tensor longer at the last step than at the second', async (name) => {
    const kind = name === 'precomputed' || name === 'synced' ? 'dpo' : name;
    const args: Args = name === 'precomputed' ? { precomputeRefLogProbs: true } : name === 'synced' ? { syncRefModel: true, refModelSyncSteps: 1 } : {};
    const engine = await openEngine({ model: join(dir, 'model'), inline: true, reference: true });
    const counts: number[] = [];
    const run = kinds[kind](`leak-${name}`, { maxSteps: 8, saveStrategy: 'no', ...args }, { model: engine, callbacks: [{ onStep: async () => void counts.push((await engine.memory()).numTensors) }] });
    await run.train();
    await run.close();
    expect(counts.slice(1)).toEqual(new Array(7).fill(counts[1]));
    await engine.close();
  });
});
