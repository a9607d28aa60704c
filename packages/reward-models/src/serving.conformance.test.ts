import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { byteTokenizer, createModel } from '@espalier/models';
import type { RewardFunction } from '@espalier/spec';
import { defaultRewardSamples, describeRewardFunction } from '@espalier/testkit';
import { afterAll, afterEach, beforeAll } from 'vitest';
import { rewardEnsemble } from './ensemble';
import { processRewardModel } from './process-reward-model';
import { rewardModel } from './reward-model';

/** One token a byte, and a template: the default samples have plain text and chats. */
const tokenizer = byteTokenizer({ chatTemplate: "{% for message in messages %}{{ message['content'] }}\n{% endfor %}" });
const samples = defaultRewardSamples().map((sample) => ({ ...sample, completionTokens: tokenizer.encode(sample.completion, { addSpecialTokens: false }) }));

let dir: string;
const open: { close(): Promise<void> }[] = [];
const kept = <Part extends RewardFunction & { close(): Promise<void> }>(part: Part): Part => (open.push(part), part);
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-reward-conformance-'));
  for (const seed of [1, 2]) await createModel(join(dir, `model-${seed}`), { config: { hiddenSize: 16, numLayers: 1, numHeads: 2, maxPositions: 96, initializerRange: 0.3, scalarHead: true }, tokenizer, seed });
});
afterEach(async () => {
  for (const part of open.splice(0)) await part.close();
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const here = (seed: number) => ({ model: join(dir, `model-${seed}`), name: `model-${seed}`, modelArgs: { backend: 'cpu' as const }, inline: true });
const options = { samples, tolerance: 1e-4 }; // batches are cut otherwise, in fp32

describeRewardFunction(() => kept(rewardModel(here(1))), { ...options, title: 'a reward model' });
describeRewardFunction(() => kept(rewardModel({ ...here(1), normalization: 'running', clip: 3 })), { ...options, title: 'a reward model with running moments' });
describeRewardFunction(() => kept(rewardEnsemble([rewardModel(here(1)), rewardModel({ ...here(2), normalization: 'running' })], { aggregation: 'uncertainty' })), { ...options, title: 'an ensemble of reward models' });
describeRewardFunction(() => kept(processRewardModel({ ...here(1), stepSeparator: ' ', perToken: false })), { ...options, title: 'a process reward model' });
