import { join } from 'node:path';
import { PPOTrainer } from '@espalier/ppo';
import type { LearnsContext } from './context.mts';

export const klBudget = 1.5;

/** A critic of its own, which begins as the policy does and learns faster; one completion a prompt would do too, a group lets its prompt be computed once. */
export async function run({ model, prompts, reward, outputDir, inline, args }: LearnsContext): Promise<{ model: string }> {
  const trainer = new PPOTrainer({
    model, rewardFuncs: reward, trainDataset: prompts, inline,
    args: { ...args, learningRate: 0.6 * args.learningRate, temperature: 1, numPpoEpochs: 2, klCoef: 0.05, valueLearningRate: 4 * args.learningRate },
  });
  await trainer.train();
  const trained = join(outputDir, 'trained');
  await trainer.saveModel(trained);
  await trainer.close();
  return { model: trained };
}
