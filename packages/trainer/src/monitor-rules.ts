import { mean } from './monitor-series';

/** What a rule sees of one metric. */
export interface Series {
  metric: string;
  /** The last `window` values, oldest first. */
  recent: readonly number[];
  /** Mean of the first `window` values of the run. */
  first: number;
}

/** Something to look for in a metric. A rule speaks once a run. */
export interface MonitorRule {
  /** Stable: the name of the notice. */
  name: string;
  level: 'note' | 'warning';
  /** The first of these that a step has is watched. */
  metrics: readonly string[];
  /** Steps looked at together. */
  window: number;
  /** Watch only where the step has this metric too. */
  beside?: string;
  /** Nothing to say where the reward has risen well above its beginning: what has been learnt looks like this too. */
  unlessLearnt?: true;
  /** Default of its threshold, where it has one that may be chosen. */
  threshold?: number;
  /** What to say, or null. Called when `recent` holds `window` values. */
  test(series: Series, threshold: number): string | null;
}


/** The middle one: one wild step does not move it. */
const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1];

/** Standard error of the mean. */
export function standardError(values: readonly number[]): number {
  const m = mean(values);
  return Math.sqrt(values.reduce((sum, v) => sum + (v - m) ** 2, 0) / Math.max(values.length - 1, 1) / values.length);
}

const shown = (value: number) => String(Number(value.toPrecision(3)));
const percent = (share: number) => `${Math.round(100 * share)} %`;

/** Log-ratios beyond these are no noise any more: the policies have parted. In nats a token. */
const logRatioLimits: Readonly<Record<string, number>> = {
  'sampling/sampling_logp_difference/mean': 1,
  'policy/approxkl_avg': 1,
  approx_kl: 1,
  kl: 10,
};

/** The rules that every run is watched by. Each says what was seen, what it may mean, and what may help. */
export const monitorRules: readonly MonitorRule[] = [
  {
    name: 'loss_near_zero',
    level: 'note',
    metrics: ['loss'],
    beside: 'frac_reward_zero_std',
    window: 1,
    test: ({ recent: [loss] }) =>
      Math.abs(loss) < 0.02
        ? `a loss near 0 (${shown(loss)}) is right here: the advantages of a group add up to about 0 and the ratio to the sampling policy is 1, so the loss says nothing, while its gradient does (see \`grad_norm\`). Watch \`reward\``
        : null,
  },
  {
    name: 'groups_without_variance',
    level: 'warning',
    threshold: 0.7,
    unlessLearnt: true,
    metrics: ['frac_reward_zero_std'],
    window: 10,
    test: ({ recent }, threshold) =>
      mean(recent) >= threshold
        ? `in the last ${recent.length} steps ${percent(mean(recent))} of the groups had the same reward for all completions: they train nothing. Prompts that are neither too easy nor too hard, more \`num_generations\`, a higher \`temperature\` or a finer reward help`
        : null,
  },
  {
    name: 'negative_kl',
    level: 'warning',
    metrics: ['objective/kl', 'kl'],
    window: 10,
    test: ({ metric, recent }) =>
      mean(recent) + 2 * standardError(recent) < 0 && mean(recent) < -1e-4
        ? `\`${metric}\` was ${shown(mean(recent))} on average over ${recent.length} steps: a mean KL divergence cannot be negative. The completions are not samples of the policy that is measured: look at \`temperature\`, \`top_p\`, \`top_k\`, at what is masked after the end of a completion, and at stale log-probs`
        : null,
  },
  {
    name: 'log_ratio_exploding',
    level: 'warning',
    metrics: Object.keys(logRatioLimits),
    beside: 'completions/mean_length', // the `kl` of KTO is of whole completions
    window: 3,
    test: ({ metric, recent }) =>
      recent.every((value) => Math.abs(value) > logRatioLimits[metric])
        ? `\`${metric}\` is ${shown(recent[recent.length - 1])} nats a token: the policy has left the one that it is compared with. A smaller \`learning_rate\`, a larger \`beta\`, fewer \`num_iterations\`, or truncated importance sampling may hold it`
        : null,
  },
  {
    name: 'reward_flat',
    level: 'warning',
    unlessLearnt: true,
    metrics: ['reward', 'objective/scores'],
    window: 60,
    test({ metric, recent }) {
      const half = recent.length / 2;
      const [before, after] = [recent.slice(0, half), recent.slice(half)];
      const change = mean(after) - mean(before);
      const noise = 2 * Math.hypot(standardError(before), standardError(after));
      if (Math.abs(change) > Math.max(noise, 0.01 * Math.abs(mean(before)))) return null;
      return `\`${metric}\` stays at ${shown(mean(after))} (${shown(change)} between the halves of the last ${recent.length} steps, within its noise). Where that is not the best there is: look at \`frac_reward_zero_std\`, at \`samples.jsonl\`, at a larger \`learning_rate\` or an easier mixture of prompts`;
    },
  },
  {
    name: 'length_climbing',
    level: 'warning',
    threshold: 1.5,
    metrics: ['completions/mean_length'],
    window: 10,
    test: ({ recent, first }, threshold) =>
      median(recent) > threshold * first && median(recent) > first + 8
        ? `completions have ${shown(median(recent))} tokens, ${shown(first)} at the beginning. Where more text is not what is wanted, the reward or the loss favours length: \`loss_type\` dr_grpo or dapo, an overlong punishment`
        : null,
  },
  {
    name: 'repetition_climbing',
    level: 'warning',
    threshold: 0.2,
    metrics: ['completions/repetition'],
    window: 10,
    test: ({ recent, first }, threshold) =>
      median(recent) > first + threshold
        ? `${percent(median(recent))} of the 4-grams in a completion have come before in it, ${percent(first)} at the beginning: the policy repeats itself. A repetition penalty among the rewards, or a larger \`beta\`, may stop it`
        : null,
  },
  {
    name: 'completions_clipped',
    level: 'warning',
    threshold: 0.9,
    metrics: ['completions/clipped_ratio'],
    window: 10,
    test: ({ recent }, threshold) =>
      mean(recent) >= threshold
        ? `${percent(mean(recent))} of the completions of the last ${recent.length} steps were cut off at \`max_completion_length\`: what they would have ended with is never rewarded. Allow more tokens, or check that the end-of-turn token ends generation`
        : null,
  },
  {
    name: 'entropy_collapse',
    level: 'warning',
    threshold: 0.1,
    unlessLearnt: true,
    metrics: ['entropy'],
    beside: 'reward',
    window: 10,
    test: ({ recent, first }, threshold) =>
      first > 0.05 && mean(recent) < threshold * first
        ? `the entropy of the policy fell from ${shown(first)} to ${shown(mean(recent))} nats a token: it hardly explores any more. \`epsilon_high\` above \`epsilon\`, an \`entropy_coef\`, or a larger \`beta\` keep it open`
        : null,
  },
];
