import { EspalierError, type Judge, type Learner } from '@espalier/spec';
import { OnlineTrainer, type OnlineTrainerOptions, type TrainerCallback } from '@espalier/trainer';
import { completionsOf, parseOnlineDPOConfig, type OnlineDPOConfigInput } from './config';
import { judgeReward } from './judge-reward';
import { onlineDpo } from './online-dpo';

/** What {@link OnlineDPOTrainer} takes: reward functions (a reward model is one), or a judge. */
export interface OnlineDPOTrainerOptions extends Omit<OnlineTrainerOptions, 'rewardFuncs'> {
  rewardFuncs?: OnlineTrainerOptions['rewardFuncs'];
  /** Ranks the two completions of a prompt in place of reward functions. */
  judge?: Judge;
  /** TRL's `OnlineDPOConfig` in camelCase. */
  args?: OnlineDPOConfigInput;
}

/**
 * DPO on pairs that the policy samples itself, ranked by a reward function, a reward model or a judge, with TRL's vocabulary. As in TRL
 * `perDeviceTrainBatchSize` counts prompts. With `syncRefModel` the reference becomes the policy every `refModelSyncSteps`: iterative DPO. The model is
 * opened by the first call that needs it and closed by `close()`.
 *
 * @throws EspalierError `bad_config` that names every wrong field, or when there are both reward functions and a judge, or neither
 *
 * @example
 * const trainer = new OnlineDPOTrainer({
 *   model: 'runs/sft/checkpoints/latest',
 *   rewardFuncs: numericReward(),
 *   trainDataset: 'prompts.jsonl',
 *   args: { outputDir: 'runs/online-dpo', maxNewTokens: 24, beta: 0.1, learningRate: 5e-7 },
 * });
 * await trainer.train();
 * await trainer.close();
 */
export class OnlineDPOTrainer extends OnlineTrainer {
  constructor(options: OnlineDPOTrainerOptions) {
    const args = parseOnlineDPOConfig(options.args);
    const { judge, rewardFuncs, ...rest } = options;
    if ((judge === undefined) === (rewardFuncs === undefined)) throw new EspalierError('bad_config', judge ? 'both `rewardFuncs` and `judge` were given' : 'neither `rewardFuncs` nor `judge` was given', { fix: 'one of them' });
    if (args.syncRefModel && options.modelArgs?.usePeft) throw new EspalierError('bad_config', '`sync_ref_model` moves a copy of the policy, and the reference is the model without its adapter', { fix: '`sync_ref_model` false, or full fine-tuning' });
    let epoch = 0;
    super(
      { ...rest, rewardFuncs: rewardFuncs ?? judgeReward(judge!) },
      {
        name: 'online_dpo',
        args: completionsOf(args),
        algorithm: onlineDpo(args, { epoch: () => epoch }),
        callbacks: ({ learner }) => [
          { onTrainBegin: (progress) => void (epoch = progress.epoch), onStep: (progress) => void (epoch = progress.epoch) },
          ...(args.syncRefModel ? [mixEvery(args.refModelSyncSteps, args.refModelMixupAlpha, learner)] : []),
        ],
      },
    );
  }
}

/** Moves the learner's reference towards its weights after every `steps` optimiser steps. @throws EspalierError `unsupported` */
export function mixEvery(steps: number, alpha: number, learner: Learner): TrainerCallback {
  if (!learner.mixReference) throw new EspalierError('unsupported', 'this learner has no reference that could follow the policy');
  return {
    onStep: async ({ step }) => {
      if (step % steps === 0) await learner.mixReference!(alpha);
    },
  };
}
