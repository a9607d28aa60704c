/** Groups of curves, in the order of the page. */
export const metricGroups = ['Reward', 'Loss', 'KL and entropy', 'Lengths', 'Optimiser', 'Timing', 'Other'] as const;
export type MetricGroup = (typeof metricGroups)[number];

/** The first that matches a name without `eval_` decides. */
const patterns: readonly (readonly [RegExp, MetricGroup])[] = [
  [/(^|_|\/)(run)?time$|per_second$/, 'Timing'],
  [/(^|\/)(grad_norm|learning_rate|lr)$|^policy\/updates$|kl_coef$|^epoch$/, 'Optimiser'],
  [/^completions\/|(^|_|\/)(length|num_tokens|num_eos_tokens|contain_eos_token)|num_tokens$/, 'Lengths'],
  [/(^|[/_])kl($|[/_])|approx_?kl|entropy|clip_?(frac|ratio)|ratio|^sampling\/|logp/, 'KL and entropy'],
  [/token_accuracy/, 'Loss'],
  [/^reward|rewards?\/|^objective\/|^pass@|accurac|^frac_reward|margin|^dynamic_sampling\/|scor|win_rate|advantage/, 'Reward'],
  [/loss|perplexity|nll|^val\/|cross_entropy/, 'Loss'],
];

/** Where a metric's curve belongs, by its name: TRL's names, and those of metrics made of them. */
export function groupOf(metric: string): MetricGroup {
  const name = metric.replace(/^eval_/, '');
  return patterns.find(([pattern]) => pattern.test(name))?.[1] ?? 'Other';
}

/** The names that come first in their group. */
const first = ['reward', 'objective/rlhf_reward', 'objective/scores', 'accuracy', 'loss', 'kl', 'objective/kl', 'entropy', 'completions/mean_length', 'learning_rate', 'grad_norm', 'step_time'];

/** Orders metrics within a group: the known ones first, then by name. */
export function compareMetrics(a: string, b: string): number {
  const rank = (name: string) => {
    const at = first.indexOf(name.replace(/^eval_/, ''));
    return at < 0 ? first.length : at;
  };
  return rank(a) - rank(b) || (a < b ? -1 : a > b ? 1 : 0);
}

/** The curves that a notice of the reward monitors is about: marked on them. Others are marked on every curve. */
const watched: Readonly<Record<string, readonly string[]>> = {
  loss_near_zero: ['loss'],
  groups_without_variance: ['frac_reward_zero_std', 'reward'],
  negative_kl: ['kl', 'objective/kl'],
  log_ratio_exploding: ['sampling/sampling_logp_difference/mean', 'policy/approxkl_avg', 'approx_kl', 'kl'],
  reward_flat: ['reward', 'objective/scores'],
  length_climbing: ['completions/mean_length'],
  repetition_climbing: ['completions/repetition'],
  completions_clipped: ['completions/clipped_ratio'],
  entropy_collapse: ['entropy'],
};

/** Whether a notice is marked on a metric's curve: those it watches, those its message names in backticks, or all when neither is known. */
export function concerns(notice: { name: string; message: string }, metric: string): boolean {
  const name = metric.replace(/^eval_/, '');
  const known = watched[notice.name];
  if (known) return known.includes(name);
  const named = [...notice.message.matchAll(/`([^`]+)`/g)].map((match) => match[1]).filter((text) => /^[\w/@.]+$/.test(text));
  return named.length === 0 || named.includes(name);
}
