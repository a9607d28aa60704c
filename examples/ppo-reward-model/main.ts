import { join } from 'node:path';
import { characterTokenizer } from '@espalier/models';
import { evaluate, pipeline, ppo, pretrain, reportTable, rewardModel, runPipeline } from '@espalier/pipeline';

const sums = Array.from({ length: 36 }, (_, i) => [Math.floor(i / 6), i % 6]).map(([a, b]) => ({ prompt: `${a}+${b}=`, answer: a + b }));
/** Text that a model learns to continue from: every other answer is wrong. */
const corpus = sums.flatMap(({ prompt, answer }) => [{ text: `${prompt}${answer}` }, { text: `${prompt}${answer + 1}` }]);
/** What people would say of two answers: the right one is better. */
const preferences = sums.map(({ prompt, answer }) => ({ prompt, chosen: String(answer), rejected: String(answer + 1) }));

const check = (name: string) => evaluate({ name, dataset: sums, reward: 'numeric', maxCompletionLength: 3 });
const training = pipeline(
  pretrain({
    model: { hiddenSize: 48, numLayers: 2, numHeads: 4, maxPositions: 32 },
    tokenizer: characterTokenizer('0123456789+='),
    dataset: corpus,
    perDeviceTrainBatchSize: 72,
    learningRate: 5e-3,
    maxSteps: 250,
    saveStrategy: 'no',
  }),
  check('before'),
  rewardModel({ dataset: preferences, perDeviceTrainBatchSize: 36, learningRate: 3e-3, maxSteps: 60, saveStrategy: 'no' }),
  ppo({ dataset: sums, perDeviceTrainBatchSize: 72, maxCompletionLength: 3, temperature: 1, learningRate: 3e-4, klCoef: 0.2, maxSteps: 40, missingEosPenalty: 1, saveStrategy: 'no' }), // no `reward`: the model of the stage before
  check('after'),
);

const outputDir = process.argv[2] ?? join('runs', 'ppo-reward-model');
console.log(reportTable(await runPipeline(training, { outputDir, seed: 1, resume: true }), { metrics: ['accuracy', 'loss', 'objective/scores', 'steps'] }));
