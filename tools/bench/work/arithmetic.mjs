// Our side of the arithmetic run: 60 steps of GRPO on sums, settings as peers/trl_arithmetic.py: { model, seed, train, heldOut, steps }. One turn.
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GRPOTrainer } from '@espalier/grpo';
import { numericReward } from '@espalier/rewards';
import { options, serve } from '../lib/serve.mjs';

const { model, seed = 1, train, heldOut, steps = 60 } = options;
const trainer = new GRPOTrainer({
  model,
  rewardFuncs: numericReward(),
  trainDataset: train,
  evalDataset: heldOut,
  args: { outputDir: mkdtempSync(join(tmpdir(), 'espalier-sums-')), perDeviceTrainBatchSize: 32, numGenerations: 8, maxCompletionLength: 24, learningRate: 5e-6, lrSchedulerType: 'constant', beta: 0, maxSteps: steps, saveStrategy: 'no', loggingSteps: 1, seed },
});
await serve({}, async () => {
  const { accuracy: before } = await trainer.evaluate();
  const start = performance.now();
  await trainer.train();
  const seconds = (performance.now() - start) / 1000;
  const { accuracy } = await trainer.evaluate();
  return { seconds, before, accuracy };
});
