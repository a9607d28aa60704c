import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { characterTokenizer, createModel } from '@espalier/models';
import { defineEnvironment } from '@espalier/spec';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { PPOTrainer } from './trainer';

let dir: string;
const chatTemplate = "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ message['content'] + '<|end|>' }}{% else %}{{ ':' + message['content'] + '>' }}{% endif %}{% endfor %}";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-ppo-environment-'));
  await createModel(join(dir, 'model'), { config: { hiddenSize: 16, numLayers: 2, numHeads: 2, maxPositions: 64 }, tokenizer: characterTokenizer('0123456789:>', { chatTemplate }), seed: 1 });
});
afterAll(async () => rm(dir, { recursive: true, force: true }));

/** Three turns, each of which earns 1: rewards in the middle of an episode, which PPO credits to their replies. */
const steady = () => {
  let step = 0;
  return defineEnvironment({ name: 'steady', reset: async () => ((step = 0), [{ role: 'user', content: '1' }]), step: async () => ({ observation: [{ role: 'user', content: '2' }], reward: 1, done: ++step === 3 }) });
};

it('PPO in an environment: rewards of steps fall on their replies', async () => {
  const trainer = new PPOTrainer({ model: join(dir, 'model'), trainDataset: [{}, {}], environment: steady, inline: true, args: { outputDir: join(dir, 'run'), maxSteps: 2, perDeviceTrainBatchSize: 4, numPpoEpochs: 1, numMiniBatches: 1, maxCompletionLength: 30, maxTurnTokens: 3, loggingSteps: 1, saveStrategy: 'no', gamma: 1, lam: 1, whitenRewards: false, klCoef: 0 } });
  const { metrics } = await trainer.train();
  await trainer.close();
  expect(metrics).toMatchObject({ 'turns/mean': 3, reward: 3, 'rewards/steady/mean': 3, 'objective/scores': 3 });
  // With gamma and lambda of 1 the return of a token is what is still earned from it on. Were all 3 credited to the end, every token's would be 3.
  expect(metrics['val/returns']).toBeGreaterThan(1);
  expect(metrics['val/returns']).toBeLessThan(3);
});
