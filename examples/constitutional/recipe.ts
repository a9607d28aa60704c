import { isEvasive, type ModelInput } from '@espalier/constitutional';
import { hash32 } from '@espalier/data';
import { aiPreferences, branch, critiqueRevise, dpo, evaluate, pipeline, ppo, rewardModel, sft, startFrom } from '@espalier/pipeline';
import { defineReward, type RewardFunction, type TextModel } from '@espalier/spec';
import { join } from 'node:path';
import { isRight, keepsRule, questions, type Question } from './questions';

export interface RecipeOptions {
  model: string;
  seed: number;
  /** The model itself, or one whose labels have nothing to do with the answers: the control. */
  judge: 'self' | 'random';
  /** The first rows alone, to try it out. */
  rows?: number;
  /** Where the answers of critic and judge are kept: a control that shares it does not ask again what the run before it asked. */
  cacheDir?: string;
}

const constitution = join(import.meta.dirname, 'constitution.yaml');
/** In tokens: room for some forty words. */
const maxCompletionLength = 64;

/** What is measured: programs that check an answer, none of which the model is trained on. */
const measured = [
  share('rule', ({ completion }) => keepsRule(completion)),
  share('accuracy', ({ completion, row }) => isRight(completion, row)),
  share('evasive', ({ completion }) => isEvasive(completion)),
];

function share(name: string, holds: (sample: { completion: string; row: Question }) => boolean): RewardFunction<Question> {
  return defineReward<Question>({ name, score: async (samples) => samples.map((sample) => (holds({ completion: textOf(sample.completion), row: sample.row }) ? 1 : 0)) });
}

const textOf = (completion: unknown): string => (typeof completion === 'string' ? completion : (completion as { content: string }[])[0].content);

/** The control: log-probs of the options that are drawn, not read. */
function randomJudge(seed: number): ModelInput {
  const draw = (text: string, k: number) => -hash32(seed, k, ...[...text].map((c) => c.charCodeAt(0))) / 2 ** 31;
  const model: TextModel = {
    complete: async () => {
      throw new Error('the random judge writes nothing');
    },
    optionLogps: async (prompt, options) => options.map((_, k) => draw(JSON.stringify(prompt), k)),
  };
  return { model, name: `random-${seed}` };
}

/** Critique and revision → SFT → AI preferences → DPO, and from the same model and labels a reward model → PPO. */
export function recipe({ model, seed, judge, rows, cacheDir }: RecipeOptions) {
  const { train, heldOut } = questions(seed);
  const dataset = train.slice(0, rows);
  const measure = (name: string) => evaluate({ name, dataset: heldOut.slice(0, rows), reward: measured as RewardFunction[], maxCompletionLength });
  const revising = { dataset, constitution, critic: model, numRevisions: 1, maxCompletionLength, maxCritiqueLength: 32, maxRevisionLength: maxCompletionLength, batchSize: 64, ...(cacheDir === undefined ? {} : { cacheDir }) };
  return pipeline(
    startFrom(model),
    measure('start'),
    critiqueRevise({ ...revising, temperature: 0.3, keepInitial: true }),
    sft({ numTrainEpochs: 1, perDeviceTrainBatchSize: 8, learningRate: 3e-6, saveSteps: 20, saveTotalLimit: 1 }),
    measure('after sft'),
    aiPreferences({ ...revising, judge: judge === 'random' ? randomJudge(seed) : model, pairsPerPrompt: 2, labels: 'hard', labelMargin: 0.01 }),
    branch('dpo', dpo({ maxSteps: 46, perDeviceTrainBatchSize: 8, learningRate: 4.5e-6, beta: 0.1, saveSteps: 23, saveTotalLimit: 1 }), measure('measured')),
    branch(
      'ppo',
      rewardModel({ maxSteps: 46, perDeviceTrainBatchSize: 8, learningRate: 1e-5, saveSteps: 23, saveTotalLimit: 1 }),
      ppo({ dataset, maxSteps: 8, perDeviceTrainBatchSize: 32, numPpoEpochs: 1, numMiniBatches: 2, maxCompletionLength, learningRate: 5e-6, valueLearningRate: 2e-5, klCoef: 0.05, saveSteps: 4, saveTotalLimit: 1 }),
      measure('measured'),
    ),
  );
}
