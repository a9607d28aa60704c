// Our side of the arithmetic run: GRPO on sums, settings as peers/trl_arithmetic.py but for the rate, which falls to zero over the steps that there is time for: { model, train, heldOut }.
// A turn is { seed, seconds, every }: it trains until `seconds` are spent and looks at the held-out sums every so many steps, while the clock stands still.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GRPOTrainer } from '@espalier/grpo';
import { numericReward } from '@espalier/rewards';
import { options, serve } from '../lib/serve.mjs';

const { model, train, heldOut } = options;

/** Steps of the rehearsal, and those at its end whose time counts: completions have become short by then, as they stay. */
const rehearsal = { steps: 12, counted: 5 };

/** A run of so many steps; `callback` watches it. */
async function withTrainer({ seed, maxSteps, every, callback }, body) {
  const outputDir = mkdtempSync(join(tmpdir(), 'espalier-sums-'));
  const trainer = new GRPOTrainer({
    model,
    rewardFuncs: numericReward(),
    trainDataset: train,
    evalDataset: every ? heldOut : undefined,
    callbacks: [callback],
    args: { outputDir, perDeviceTrainBatchSize: 32, numGenerations: 8, maxCompletionLength: 24, learningRate: 5e-6, lrSchedulerType: 'linear', beta: 0, maxSteps, ...(every && { evalStrategy: 'steps', evalSteps: every }), saveStrategy: 'no', loggingSteps: 1, seed },
  });
  try {
    return await body(trainer);
  } finally {
    await trainer.close();
    rmSync(outputDir, { recursive: true, force: true });
  }
}

/** Seconds a step, from a run that is thrown away. */
async function secondsAStep() {
  const ends = [];
  await withTrainer({ seed: 1, maxSteps: rehearsal.steps, callback: { onStep: () => void ends.push(performance.now()) } }, (trainer) => trainer.train());
  const last = ends.slice(-rehearsal.counted - 1);
  return (last.at(-1) - last[0]) / 1000 / rehearsal.counted;
}

const perStep = await secondsAStep();

await serve({ perStep }, async ({ seed, seconds: limit, every }) => {
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
  return withTrainer({ seed, maxSteps: Math.max(1, Math.floor(limit / perStep)), every, callback: clock }, async (trainer) => {
    const { accuracy: before } = await trainer.evaluate();
    const { step } = await trainer.train();
    const { accuracy } = await trainer.evaluate();
    return { seconds, steps: step, before, accuracy, curve };
  });
});
