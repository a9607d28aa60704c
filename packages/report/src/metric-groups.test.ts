import { expect, it } from 'vitest';
import { compareMetrics, concerns, groupOf } from './metric-groups';

it.each([
  ['Reward', ['reward', 'reward_std', 'rewards/numeric/mean', 'eval_rewards/numeric/mean', 'eval_accuracy', 'eval_pass@8', 'rewards/chosen', 'rewards/margins', 'frac_reward_zero_std', 'objective/rlhf_reward', 'objective/scores', 'dynamic_sampling/reward_before', 'helpfulness/win_rate']],
  ['Loss', ['loss', 'eval_loss', 'lm/loss', 'loss/policy_avg', 'loss/value_avg', 'eval_perplexity', 'nll', 'mean_token_accuracy']],
  ['KL and entropy', ['kl', 'objective/kl', 'entropy', 'objective/entropy', 'policy/approxkl_avg', 'clip_ratio/low_mean', 'policy/clipfrac_avg', 'sampling/sampling_logp_difference/mean', 'logps/chosen', 'sampling/kl']],
  ['Lengths', ['completions/mean_length', 'completions/clipped_ratio', 'completions/repetition', 'num_tokens', 'val/num_eos_tokens']],
  ['Optimiser', ['learning_rate', 'grad_norm', 'critic/grad_norm', 'objective/kl_coef']],
  ['Timing', ['step_time', 'eval_runtime', 'tokens_per_second']],
  ['Other', ['something_of_mine']],
] as const)('%s', (group, metrics) => {
  for (const metric of metrics) expect([metric, groupOf(metric)]).toEqual([metric, group]);
});

it('puts what is looked at first before the rest', () => {
  expect(['rewards/b/mean', 'accuracy', 'rewards/a/mean', 'eval_reward', 'reward'].sort(compareMetrics)).toEqual(['eval_reward', 'reward', 'accuracy', 'rewards/a/mean', 'rewards/b/mean']);
});

it('a notice is marked on the curves it is about', () => {
  const flat = { name: 'reward_flat', message: 'look at `frac_reward_zero_std`' };
  expect(['reward', 'eval_reward', 'loss'].map((metric) => concerns(flat, metric))).toEqual([true, true, false]);
  expect(['grad_norm', 'loss'].map((metric) => concerns({ name: 'mine', message: '`grad_norm` is odd' }, metric))).toEqual([true, false]);
  expect(concerns({ name: 'mine', message: 'something is odd' }, 'loss')).toBe(true);
});
