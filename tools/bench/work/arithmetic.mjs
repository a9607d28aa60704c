// Our side of the arithmetic run: GRPO on sums, settings as peers/trl_arithmetic.py: { model, train, heldOut }. A turn is { seed, seconds, every }: it trains until `seconds` are
// spent and looks at the held-out sums every so many steps, while the clock stands still.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GRPOTrainer } from '@espalier/grpo';
import { numericReward } from '@espalier/rewards';
import { options, serve } from '../lib/serve.mjs';

const { model, train, heldOut } = options;

await serve({}, async ({ seed, seconds: limit, every }) => {
  const outputDir = mkdtempSync(join(tmpdir(), 'espalier-sums-'));
  const curve = []; // of { step, seconds, accuracy }
  let seconds = 0;
  let mark;
  const clock = {
    onTrainBegin: () => void (mark = performance.now()),
    onStep: (_, __, control) => {
      const now = performance.now();
      seconds += (now - mark) / 1000;
      mark = now;
      if (seconds >= limit) control.stop();
    },
    onEvaluate: ({ step }, metrics) => {
      curve.push({ step, seconds, accuracy: metrics.eval_accuracy });
      mark = performance.now();
    },
  };
  const trainer = new GRPOTrainer({
    model,
    rewardFuncs: numericReward(),
    trainDataset: train,
    evalDataset: heldOut,
    callbacks: [clock],
    args: { outputDir, perDeviceTrainBatchSize: 32, numGenerations: 8, maxCompletionLength: 24, learningRate: 5e-6, lrSchedulerType: 'constant', beta: 0, maxSteps: 10_000, evalStrategy: 'steps', evalSteps: every, saveStrategy: 'no', loggingSteps: 1, seed },
  });
  const { accuracy: before } = await trainer.evaluate();
  const { step } = await trainer.train();
  const { accuracy } = await trainer.evaluate();
  await trainer.close();
  rmSync(outputDir, { recursive: true, force: true });
  return { seconds, steps: step, before, accuracy, curve };
});
