import { join } from 'node:path';
import { RLOOTrainer } from '@espalier/grpo';
import type { LearnsContext } from './context.mts';

export const klBudget = 1.5;

export async function run({ model, prompts, reward, outputDir, inline, args }: LearnsContext): Promise<{ model: string }> {
  const trainer = new RLOOTrainer({ model, rewardFuncs: reward, trainDataset: prompts, inline, args: { ...args, normalizeAdvantages: true } });
  await trainer.train();
  const trained = join(outputDir, 'trained');
  await trainer.saveModel(trained);
  await trainer.close();
  return { model: trained };
}
