import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GRPOTrainer } from '@espalier/grpo';
import { numericReward } from '@espalier/rewards';
const [scheduler, steps, ...seeds] = process.argv.slice(2);
for (const seed of seeds) {
  let seconds = 0, mark; const curve = [];
  const clock = { onTrainBegin: () => void (mark = performance.now()), onStep: () => { const now = performance.now(); seconds += (now - mark) / 1000; mark = now; }, onEvaluate: ({ step }, m) => { curve.push(`${step}:${m.eval_accuracy.toFixed(3)}`); mark = performance.now(); } };
  const trainer = new GRPOTrainer({ model: '/tmp/peers/smollm2', rewardFuncs: numericReward(), trainDataset: 'examples/smollm2-arithmetic/arithmetic-train.jsonl', evalDataset: 'examples/smollm2-arithmetic/arithmetic-heldout.jsonl', callbacks: [clock],
    args: { outputDir: mkdtempSync(join(tmpdir(), 'esp-')), perDeviceTrainBatchSize: 32, numGenerations: 8, maxCompletionLength: 24, learningRate: 5e-6, lrSchedulerType: scheduler, beta: 0, maxSteps: Number(steps), evalStrategy: 'steps', evalSteps: 20, saveStrategy: 'no', loggingSteps: 1, seed: Number(seed) } });
  await trainer.train();
  const { accuracy } = await trainer.evaluate();
  await trainer.close();
  console.log(scheduler, 'seed', seed, 'seconds', seconds.toFixed(0), 'accuracy', accuracy.toFixed(4), curve.join(' '));
}
