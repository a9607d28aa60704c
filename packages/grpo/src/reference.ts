import { EspalierError } from '@espalier/spec';
import type { OnlineTrainerOptions, OnlineTrainerParts } from '@espalier/trainer';

/** What a trainer needs besides when its reference is to follow the policy. @throws EspalierError `bad_config` where the reference is no copy */
export function followingReference(options: OnlineTrainerOptions, args: { syncRefModel: boolean; refModelMixupAlpha: number; refModelSyncSteps: number }): Pick<OnlineTrainerParts, 'callbacks'> {
  if (!args.syncRefModel) return {};
  if (options.modelArgs?.usePeft) throw new EspalierError('bad_config', '`sync_ref_model` moves a copy of the policy, and the reference is the model without its adapter', { fix: '`sync_ref_model` false, or full fine-tuning' });
  return {
    callbacks: ({ learner }) => {
      if (!learner.mixReference) throw new EspalierError('unsupported', 'this learner has no reference that could follow the policy', { fix: '`sync_ref_model` false' });
      return [
        {
          onStep: async ({ step }) => {
            if (step % args.refModelSyncSteps === 0) await learner.mixReference!(args.refModelMixupAlpha);
          },
        },
      ];
    },
  };
}
