import { weightedRewards } from '@espalier/trainer';
import { defineRPTObjective } from '../objective';
import { checkSampled, sampledRun, userRewards } from '../sampled-run';

/** Prompts with verifiable rewards, updated by any on-policy algorithm: GRPO, PPO, DPO on pairs that rewards rank. */
export const verifiableObjective = defineRPTObjective({
  name: 'verifiable',
  summary: 'prompts with reward functions, updated by any algorithm',
  fields: {},
  takes: { algorithm: 'required', rewards: 'required' },
  rows: ['prompt_only', 'preference', 'language_modeling'],
  check(options, args) {
    if (options.environment === undefined) weightedRewards(userRewards(options, args));
    checkSampled(args, options.algorithm!);
  },
  create: (setup) => sampledRun(setup),
});
