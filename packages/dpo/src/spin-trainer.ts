import { checkRow, type Row } from '@espalier/data';
import { defineReward, EspalierError, type Message, type RewardSample, type ScoredTrajectory } from '@espalier/spec';
import { OnlineTrainer, type OnlineTrainerOptions, type OwningAlgorithm } from '@espalier/trainer';
import { parseSPINConfig, type SPINConfigInput } from './config';
import { fitted, onlinePairObjective, pairBatch, splitTrajectory } from './online-dpo';
import { mixEvery } from './online-dpo-trainer';
import { rowContext } from './row-context';
import { tokenizeCompletion, type RowTokenizer } from './rows';

/** What {@link SPINTrainer} takes. Reward functions only watch. */
export interface SPINTrainerOptions extends Omit<OnlineTrainerOptions, 'rewardFuncs'> {
  rewardFuncs?: OnlineTrainerOptions['rewardFuncs'];
  args?: SPINConfigInput;
}

type Content = string | readonly Message[];

/** The demonstration in a row: `prompt` and `completion`, or `messages` that end with the assistant's. @throws EspalierError `bad_data` */
function demonstration(row: Row): { prompt: Content; completion: Content } {
  if (row.prompt !== undefined) {
    checkRow(row, ['prompt_completion']);
    return row as { prompt: Content; completion: Content };
  }
  checkRow(row, ['language_modeling']);
  const messages = row.messages as Message[] | undefined;
  if (messages?.at(-1)?.role !== 'assistant') throw new EspalierError('bad_data', 'a row has no demonstration', { fix: '`prompt` and `completion`, or `messages` that end with the assistant\'s' });
  return { prompt: messages.slice(0, -1), completion: messages.slice(-1) };
}

const textOf = (content: Content): string => (typeof content === 'string' ? content : content.map((message) => message.content).join('\n'));

/** 1 where the policy wrote the demonstration itself: how far its play can no longer be told from the data. */
const writesTheDemonstration = defineReward<Row>({
  name: 'demonstration',
  score: async (samples) => samples.map(({ row, completion }: RewardSample<Row>) => Number(completion.trim() === textOf(demonstration(row).completion).trim())),
});

/**
 * SPIN: self-play fine-tuning (2401.01335 eq. 4.7). What is preferred is the row's completion, what is rejected is what the previous iterate of the policy
 * wrote for its prompt; that iterate is the reference, too. An iteration is `iterationSteps` optimiser steps on completions that were sampled
 * before it; then the policy takes the place of its opponent. Rows: `prompt` and `completion`, or messages.
 *
 * `perDeviceTrainBatchSize` counts demonstrations. All completions of an iteration are sampled, and held, at once. `reward` is the share of completions that
 * are the demonstration, unless reward functions are given.
 *
 * @throws EspalierError `bad_config` that names every wrong field
 *
 * @example
 * const trainer = new SPINTrainer({ model: 'runs/sft/checkpoints/latest', trainDataset: 'demonstrations.jsonl', args: { outputDir: 'runs/spin', iterationSteps: 50, maxSteps: 150, maxNewTokens: 128 } });
 * await trainer.train();
 * await trainer.close();
 */
export class SPINTrainer extends OnlineTrainer {
  constructor(options: SPINTrainerOptions) {
    const args = parseSPINConfig(options.args);
    if (options.modelArgs?.usePeft) throw new EspalierError('bad_config', '`use_peft`: the opponent of SPIN is a copy of the whole policy', { fix: 'full fine-tuning' });
    let tokenizer: RowTokenizer | null = null; // known when the model is
    const { iterationSteps, numIterations, gradientAccumulationSteps, perDeviceTrainBatchSize, beta, lossType, maxLength } = args;
    const algorithm: OwningAlgorithm = {
      specVersion: 'v1',
      name: 'spin',
      objective: onlinePairObjective('spin', lossType),
      numIterations,
      needsReference: true,
      lossTemperature: 1,
      async experience(groups, { learner, signal }) {
        const pairs = groups.map(([trajectory]) => ({ example: fitted(against(trajectory, tokenizer!), maxLength) }));
        const batch = await pairBatch(pairs, beta, async (whole) => (await learner.forward(whole, ['logps'], { signal, reference: true })).logps!);
        const written = groups.flat();
        const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
        const rewards = written.flatMap((trajectory) => Object.values(trajectory.rewards).flatMap((reward) => (reward === null ? [] : [typeof reward === 'number' ? reward : reward.total])));
        return {
          batch,
          metrics: {
            ...(rewards.length > 0 ? { reward: mean(rewards) } : {}),
            'val/contain_eos_token': mean(written.map(({ finishReason }) => Number(finishReason === 'stop'))),
            'completions/mean_length': mean(written.map(({ trainable }) => trainable.reduce((a, b) => a + b, 0))),
          },
        };
      },
    };
    // The loop counts completions, of which a demonstration has one; pairs are what is trained on.
    const perPass = (iterationSteps / numIterations) * gradientAccumulationSteps;
    super(
      { ...options, rewardFuncs: options.rewardFuncs ?? writesTheDemonstration },
      {
        name: 'spin',
        args: { ...args, dynamicSampling: false, maxResamples: 1, generationBatchSize: undefined, perDeviceTrainBatchSize, stepsPerGeneration: perPass },
        algorithm,
        callbacks: (policy) => {
          tokenizer = rowContext(policy, null).tokenizer;
          return [mixEvery(iterationSteps, 1, policy.learner)];
        },
      },
    );
  }
}

/** A demonstration against what the policy wrote for its prompt. */
function against(trajectory: ScoredTrajectory, tokenizer: RowTokenizer) {
  const { prompt, completion } = splitTrajectory(trajectory);
  const row = trajectory.row as Row;
  const data = demonstration(row);
  const shown = tokenizeCompletion(data.prompt, data.completion, tokenizer, row);
  const same = shown.prompt.length === prompt.length && shown.prompt.every((token, i) => token === prompt[i]);
  return same ? { prompt, chosen: shown.completion, rejected: completion } : { prompt: shown.prompt, chosen: shown.completion, rejected: completion, rejectedPrompt: prompt };
}

