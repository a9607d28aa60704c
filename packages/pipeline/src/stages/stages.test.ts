import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineReward } from '@espalier/spec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../load-config';
import { pipeline } from '../pipeline';
import { checkRewards, parseReward, resolveRewards } from '../rewards';
import { runPipeline } from '../run-pipeline';
import { aiPreferences, critiqueRevise, distill, dpo, evaluate, grpo, ppo, pretrain, rewardModel, rpt, sft, startFrom } from './index';

let dir: string;
beforeAll(async () => void (dir = await mkdtemp(join(tmpdir(), 'espalier-stages-'))));
afterAll(() => rm(dir, { recursive: true, force: true }));

const digits = defineReward({ name: 'digits', score: async (samples) => samples.map(({ completion }) => (/^\d/.test(completion) ? 1 : 0)) });
const rows = Array.from({ length: 8 }, (_, i) => ({ prompt: `${i}+1=`, completion: `${i + 1}`, answer: `${i + 1}` }));
const here = { backend: 'cpu', inline: true } as const;

describe('the stages together', () => {
  it('pretrain → sft → rpt → evaluate, each giving what the next needs', async () => {
    const steps: string[] = [];
    const line = () =>
      pipeline(
        pretrain({ ...here, model: { hiddenSize: 16, numLayers: 1, numHeads: 2, maxPositions: 32 }, dataset: rows.map(({ prompt, completion }) => ({ text: prompt + completion })), maxSteps: 2, perDeviceTrainBatchSize: 2 }),
        sft({ ...here, dataset: rows, evalDataset: rows.slice(0, 2), maxSteps: 2, perDeviceTrainBatchSize: 2 }),
        rpt({ ...here, dataset: rows, reward: [digits, 'exact=0.5'], maxSteps: 1, perDeviceTrainBatchSize: 4, numGenerations: 2, maxCompletionLength: 3 }),
        evaluate({ ...here, dataset: rows, reward: digits, samples: 2, maxCompletionLength: 3, texts: ['1+1=2'] }),
      );
    const outputDir = join(dir, 'run');
    const report = await runPipeline(line(), { outputDir, seed: 7, onEvent: (event) => event.type === 'step' && event.stage !== 'evaluate' && steps.push(`${event.stage} ${event.step}/${event.total}`) });
    expect(steps).toEqual(['pretrain 1/2', 'pretrain 2/2', 'sft 1/2', 'sft 2/2', 'rpt 1/1']);
    expect(report.stages.map(({ name }) => name)).toEqual(['pretrain', 'sft', 'rpt', 'evaluate']);
    expect(report.stages[1].metrics).toHaveProperty('eval_loss');
    expect(report.stages[2].metrics).toHaveProperty('reward');
    expect(Object.keys(report.stages[3].metrics)).toEqual(expect.arrayContaining(['accuracy', 'pass@2', 'perplexity', 'rewards/digits/mean']));
    expect(await readdir(report.artifacts.policy!.path)).toEqual(expect.arrayContaining(['config.json', 'model.safetensors', 'tokenizer.json']));
    expect(report.artifacts.policy!.path).toBe(join(outputDir, '03-rpt', 'model'));

    const again = await runPipeline(line(), { outputDir, seed: 7, resume: true });
    expect(again.stages.every(({ skipped }) => skipped)).toBe(true);
    expect(again.artifacts.policy!.digest).toBe(report.artifacts.policy!.digest);
  });

  it('a stage that was stopped goes on from its checkpoint, and gives the same model', async () => {
    const base = join(dir, 'run', '01-pretrain', 'model');
    const line = () => pipeline(startFrom(base), sft({ ...here, dataset: rows, maxSteps: 4, saveSteps: 1, perDeviceTrainBatchSize: 2 }));
    const whole = await runPipeline(line(), { outputDir: join(dir, 'whole') });
    const controller = new AbortController();
    const outputDir = join(dir, 'stopped');
    await expect(runPipeline(line(), { outputDir, signal: controller.signal, onEvent: (event) => event.type === 'step' && event.step === 2 && controller.abort() })).rejects.toMatchObject({ code: 'aborted' });
    const resumed: number[] = [];
    const report = await runPipeline(line(), { outputDir, resume: true, onEvent: (event) => event.type === 'step' && resumed.push(event.step) });
    expect(resumed[0]).toBeGreaterThan(1);
    expect(report.artifacts.policy!.digest).toBe(whole.artifacts.policy!.digest);
  });

  it('preferences → a reward model → PPO on its scores, and DPO and distillation beside them', async () => {
    const model = join(dir, 'run', '01-pretrain', 'model');
    const pairs = rows.map(({ prompt, completion }) => ({ prompt, chosen: completion, rejected: 'no' }));
    const short = { ...here, maxSteps: 1, perDeviceTrainBatchSize: 4 } as const;
    const line = pipeline(
      startFrom(model),
      dpo({ ...short, dataset: pairs, evalDataset: pairs.slice(0, 2) }),
      rewardModel({ ...short, dataset: pairs }),
      ppo({ ...short, dataset: rows, numPpoEpochs: 1, numGenerations: 1, maxCompletionLength: 3 }),
      grpo({ ...short, dataset: rows, reward: 'numeric', numGenerations: 2, maxCompletionLength: 3 }),
      distill({ ...short, dataset: rows, teacherModelNameOrPath: model, maxNewTokens: 3 }),
    );
    const report = await runPipeline(line, { outputDir: join(dir, 'preferences') });
    expect(report.stages.map(({ name, gives }) => [name, ...Object.keys(gives).sort()])).toEqual([
      ['model', 'policy'], ['dpo', 'metrics', 'policy'], ['reward-model', 'metrics', 'reward'], ['ppo', 'metrics', 'policy'], ['grpo', 'metrics', 'policy'], ['distill', 'metrics', 'policy'],
    ]);
    expect(report.stages[1].metrics).toHaveProperty('eval_rewards/accuracies');
    expect(report.stages[3].metrics).toHaveProperty('objective/scores');
  });

  it('critique and revision → SFT, and AI preferences → DPO, on the rows that the stages make', async () => {
    const judge = { name: 'scripted', model: { complete: async (asked: readonly unknown[]) => asked.map(() => '7'), optionLogps: async (_: unknown, options: readonly string[]) => options.map((_option, i) => -1 - i) } };
    const short = { ...here, maxSteps: 1, perDeviceTrainBatchSize: 2 } as const;
    const ask = { ...here, dataset: rows.slice(0, 4), judge, promptFormat: 'plain', fewShot: 0, numRevisions: 1, maxCompletionLength: 3 } as const;
    const line = pipeline(startFrom(join(dir, 'run', '01-pretrain', 'model')), critiqueRevise(ask), sft(short), aiPreferences(ask), dpo(short));
    const report = await runPipeline(line, { outputDir: join(dir, 'constitutional') });
    expect(report.stages.map(({ name, gives }) => [name, ...Object.keys(gives).sort()])).toEqual([
      ['model', 'policy'], ['critique-revise', 'metrics', 'rows'], ['sft', 'metrics', 'policy'], ['ai-preferences', 'metrics', 'rows'], ['dpo', 'metrics', 'policy'],
    ]);
    const made = (await readFile(report.stages[3].gives.rows!.path, 'utf8')).trim().split('\n').map((text) => JSON.parse(text) as Record<string, unknown>);
    expect(made.length).toBe(report.stages[3].gives.rows!.count);
    expect(made[0]).toMatchObject({ soft_label: 0.5 }); // the judge prefers the first letter, whatever stands there: both orders cancel
  });

  it('what a stage needs and is not given is named by the compiler', () => {
    const short = { ...here, maxSteps: 1 } as const;
    // @ts-expect-error type-tests/pipeline.test-d.ts has the message
    expect(() => pipeline(startFrom('m'), ppo({ ...short, dataset: rows }))).toThrow('needs reward, which no stage before it gives');
    // @ts-expect-error the same
    expect(() => pipeline(startFrom('m'), dpo(short))).toThrow('needs rows, which no stage before it gives');
  });

  it('adapters are merged into the model that is handed on', async () => {
    const report = await runPipeline(pipeline(startFrom(join(dir, 'run', '01-pretrain', 'model')), sft({ ...here, loraRank: 2, dataset: rows, maxSteps: 1, perDeviceTrainBatchSize: 2 })), { outputDir: join(dir, 'lora') });
    expect(await readdir(report.artifacts.policy!.path)).toEqual(expect.arrayContaining(['config.json', 'model.safetensors']));
  });
});

describe('options', () => {
  it('are checked when the stage is made', () => {
    expect(() => sft({ dataset: rows, maxStep: 3 } as never)).toThrow('stage "sft": unknown field `max_step` (did you mean `max_steps`?)');
    expect(() => sft({ dataset: rows, outputDir: 'x' } as never)).toThrow('`output_dir` is set by the pipeline');
    expect(() => rpt({ reward: 'numeric' } as never)).toThrow('`dataset` is missing');
    expect(() => sft({ dataset: rows, loraAlpha: 3 })).toThrow('need `lora_rank`');
    expect(() => rpt({ dataset: rows, reward: 'numerc' as string })).toThrow('did you mean numeric?');
    expect(() => rpt({ dataset: rows, reward: 'numeric', perDeviceTrainBatchSize: 6, numGenerations: 4 })).toThrow('4 or 8 would be');
    expect(() => rpt({ dataset: rows, reward: 'numeric', beta: 0.1, klCoef: 0.1 })).toThrow('would count twice');
    expect(() => evaluate({})).toThrow('has nothing to measure on');
    expect(() => evaluate({ dataset: rows })).toThrow('`reward` is missing');
    expect(() => pretrain({ dataset: rows, model: 'gpt2' as never })).toThrow('begin with `model` or startFrom()');
    expect(() => startFrom('')).toThrow('a folder, a file or a hub id');
  });

  it('of rewards are read from text', async () => {
    expect(parseReward('numeric')).toEqual({ name: 'numeric', weight: 1, options: {} });
    expect(parseReward('numeric=0.8')).toEqual({ name: 'numeric', weight: 0.8, options: {} });
    expect(parseReward('length:max_length=256,weight=0.2')).toEqual({ name: 'length', weight: 0.2, options: { max_length: '256' } });
    expect(() => parseReward('numeric=much')).toThrow('the weight is "much"');
    expect((await resolveRewards(['numeric', { name: 'length', options: { maxLength: 8 }, weight: 2 }])).map(({ reward, weight }) => [reward.name, weight])).toEqual([['numeric', 1], ['length', 2]]);
    expect(() => checkRewards([{ name: 'numeric', weight: 'x' as never }])).toThrow('the weight of reward "numeric"');
  });
});

describe('a configuration', () => {
  const write = async (name: string, text: string) => {
    const path = join(dir, name);
    await writeFile(path, text);
    return path;
  };

  it('in YAML makes stages, with plugins', async () => {
    await write('plugin.mjs', `export default { specVersion: 'v1', name: 'p', rewards: { short: () => ({ specVersion: 'v1', name: 'short', score: async (s) => s.map(() => 0) }) } };`);
    const path = await write('good.yaml', 'name: sums\noutput_dir: runs/sums\nseed: 3\nplugins: [./plugin.mjs]\nstages:\n  - model: some/model\n  - rpt: { dataset: "arithmetic:size=4", reward: [short, {name: length, options: {max_length: 8}}], max_steps: 1 }\n');
    const config = await loadConfig(path);
    expect(config).toMatchObject({ name: 'sums', outputDir: 'runs/sums', seed: 3 });
    expect(config.pipeline.stages.map(({ name }) => name)).toEqual(['model', 'rpt']);
  });

  it('in TypeScript is its default export', async () => {
    const path = await write('espalier.config.ts', `const seed: number = 5;\nexport default { seed, pipeline: { specVersion: 'v1' as const, stages: [], gives: [] } };`);
    expect((await loadConfig(path)).seed).toBe(5);
    await expect(loadConfig(await write('empty.ts', 'export const x = 1;'))).rejects.toThrow('exports no configuration');
    await expect(loadConfig(await write('broken.ts', 'export default {;'))).rejects.toThrow('does not load');
  });

  it('is refused with the field, the stage, the nearest', async () => {
    const refused = async (text: string, message: string | RegExp) => expect(loadConfig(await write('bad.yaml', text))).rejects.toThrow(message);
    await refused('stage: []', 'unknown field `stage` (did you mean `stages`?)');
    await refused('stages: []', '`stages` is []');
    await refused('stages:\n  - evaluat: {}', 'stage 1: there is no stage `evaluat` (did you mean `evaluate`?)');
    await refused('stages:\n  - model: m\n  - rpt: { dataset: no.jsonl, reward: numeric }', 'stage 2: `dataset`: there is no file no.jsonl');
    await refused('stages:\n  - sft: { dataset: "arithmetic:size=4" }', 'stage 1 "sft" needs policy');
    await refused('stages: [\n', /bad\.yaml:\d+: /);
    await refused('plugins: [./none.mjs]\nstages:\n  - model: m', 'plugin "./none.mjs" does not load');
    await expect(loadConfig(join(dir, 'absent.yaml'))).rejects.toMatchObject({ code: 'not_found' });
    await expect(readFile(join(dir, 'runs'), 'utf8')).rejects.toThrow();
  });
});
