import { join } from 'node:path';
import { OnlineDPOTrainer } from '@espalier/dpo';
import type { LearnsContext } from './context.mts';

export const klBudget = 1.5;

/** As many completions a step as the others have, in pairs: twice as many prompts as there are demonstrated groups. */
export async function run({ model, prompts, reward, outputDir, inline, args }: LearnsContext): Promise<{ model: string }> {
  const { numGenerations: _groups, maxCompletionLength, perDeviceTrainBatchSize, ...shared } = args;
  const trainer = new OnlineDPOTrainer({
    model, rewardFuncs: reward, trainDataset: prompts, inline,
    args: { ...shared, perDeviceTrainBatchSize: perDeviceTrainBatchSize / 2, maxNewTokens: maxCompletionLength, maxLength: 32, temperature: 1, beta: 0.1 },
  });
  await trainer.train();
  const trained = join(outputDir, 'trained');
  await trainer.saveModel(trained);
  await trainer.close();
  return { model: trained };
}
