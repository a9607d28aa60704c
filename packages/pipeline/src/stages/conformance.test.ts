import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { byteTokenizer, createModel } from '@espalier/models';
import { describeStage } from '@espalier/testkit';
import { afterAll, beforeAll } from 'vitest';
import { digestPath } from '../digest';
import { aiPreferences, critiqueRevise, distill, dpo, evaluate, grpo, pretrain, rewardModel, rpt, sft, startFrom } from './index';

let dir: string;
let model: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-stage-conformance-'));
  model = join(dir, 'model');
  await createModel(model, { config: { hiddenSize: 16, numLayers: 1, numHeads: 2, maxPositions: 64 }, tokenizer: byteTokenizer(), seed: 1 });
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const here = { backend: 'cpu', inline: true, perDeviceTrainBatchSize: 2, maxSteps: 2, saveSteps: 1 } as const;
const rows = Array.from({ length: 6 }, (_, i) => ({ prompt: `${i}+1=`, completion: `${i + 1}`, answer: `${i + 1}` }));
const pairs = rows.map(({ prompt, completion }) => ({ prompt, chosen: completion, rejected: 'no' }));
const policy = async () => ({ policy: { kind: 'policy' as const, path: model, digest: await digestPath(model) } });

describeStage(() => startFrom(model), { title: 'stage startFrom' });
describeStage(() => pretrain({ ...here, model: { hiddenSize: 16, numLayers: 1, numHeads: 2, maxPositions: 32 }, dataset: rows.map(({ prompt, completion }) => ({ text: prompt + completion })) }), { title: 'stage pretrain', varying: ['metrics'] });
describeStage(() => sft({ ...here, dataset: rows, evalDataset: rows.slice(0, 2) }), { title: 'stage sft', input: policy, varying: ['metrics'] });
describeStage(() => dpo({ ...here, dataset: pairs }), { title: 'stage dpo', input: policy, varying: ['metrics'] });
describeStage(() => rewardModel({ ...here, dataset: pairs }), { title: 'stage rewardModel', input: policy, varying: ['metrics'] });
describeStage(() => grpo({ ...here, dataset: rows, reward: 'numeric', numGenerations: 2, maxCompletionLength: 3 }), { title: 'stage grpo', input: policy, varying: ['metrics'] });
describeStage(() => rpt({ ...here, dataset: rows, reward: 'exact', perDeviceTrainBatchSize: 4, numGenerations: 2, maxCompletionLength: 3, klCoef: 0.1 }), { title: 'stage rpt', input: policy, varying: ['metrics'] });
describeStage(() => distill({ ...here, dataset: rows, teacherModelNameOrPath: model, maxNewTokens: 3 }), { title: 'stage distill', input: policy, varying: ['metrics'] });
describeStage(() => evaluate({ backend: 'cpu', inline: true, dataset: rows, reward: 'exact', samples: 2, maxCompletionLength: 3, texts: ['1+1=2'] }), { title: 'stage evaluate', input: policy });

const judge = { name: 'scripted', model: { complete: async (asked: readonly unknown[]) => asked.map(() => '7'), optionLogps: async (_: unknown, options: readonly string[]) => options.map((_option, i) => -1 - i) } };
const ask = { backend: 'cpu', inline: true, dataset: rows.slice(0, 3), judge, promptFormat: 'plain', fewShot: 0, maxCompletionLength: 3 } as const;
describeStage(() => critiqueRevise({ ...ask, numRevisions: 1 }), { title: 'stage critiqueRevise', input: policy, varying: ['metrics'] });
describeStage(() => aiPreferences(ask), { title: 'stage aiPreferences', input: policy, varying: ['metrics'] });
