import { rise, type Level, type SeriesBook } from './monitor-series';

/** What a rule says after a step. */
export interface AlarmFinding {
  /** How far the run is on the way to the alarm: 1 and more raises it, below a half the weights are held to be sound. */
  severity: number;
  /** What was seen, what it may mean, what may help. */
  message: string;
}

/** A sign that a reward is being exploited, or that the run goes to ruin. It speaks once a run. */
export interface AlarmRule {
  /** Stable: the name of the alarm. */
  name: string;
  /** Default of its threshold. */
  threshold: number;
  /** What the threshold is of, for people. */
  of: string;
  /** Metrics it looks at. */
  metrics: readonly string[];
  /** Called after every round; null while there is nothing to say. */
  test(book: SeriesBook, threshold: number): AlarmFinding | null;
}

const shown = (value: number) => String(Number(value.toPrecision(3)));
const percent = (share: number) => `${Math.round(100 * share)} %`;

/** Steps looked at together. */
const window = 8;
/** Standard errors beyond which a change is none of chance: a run asks some hundred times. */
const sure = 4;

const rewardSeries = 'reward';

/** Whether the gold reward has risen since the beginning and has not come down again: then what else changes is no matter. */
function goldRises(book: SeriesBook): boolean {
  const [first, last] = [book.first('gold', 4), book.last('gold', window)];
  if (!first || !last || rise(first, last).sigmas < 2) return false;
  const best = book.best('gold', window, 0);
  return !best || rise(last, best).sigmas < 2;
}

const rewardRises = (book: SeriesBook): boolean => {
  const [first, last] = [book.first(rewardSeries, 4), book.last(rewardSeries, window)];
  return first !== null && last !== null && rise(first, last).sigmas > sure;
};

/** Something that climbs away from where it began, to a level that is suspect, while the gold reward does not get better. */
function climbing(options: { name: string; threshold: number; of: string; metric: string | ((book: SeriesBook) => string); by: number; say(level: Level, first: Level): string }): AlarmRule {
  return {
    name: options.name,
    threshold: options.threshold,
    of: options.of,
    metrics: typeof options.metric === 'string' ? [options.metric] : [],
    test(book, threshold) {
      const metric = typeof options.metric === 'string' ? options.metric : options.metric(book);
      const [first, last] = [book.first(metric, 4), book.last(metric, 4)];
      if (!first || !last || goldRises(book)) return null;
      const { by, sigmas } = rise(first, last);
      const severity = Math.min(last.mean / threshold, by / options.by, sigmas / sure);
      return { severity, message: options.say(last, first) };
    },
  };
}

/** Falls of one reward from its best, while another one does not fall with it: chance would take both down, for they are of the same completions. */
function fallBeside(book: SeriesBook, falling: string, risingSeries: string, threshold: number, surely: number): { severity: number; from: number; to: number; by: number } | null {
  let worst: { severity: number; from: number; to: number; by: number } | null = null;
  for (const scale of [2, 3, 5, 9, 17]) {
    const last = book.lastButWorst(falling, scale);
    const length = book.count(falling) < 2 * window ? window / 2 : window; // the best of many short means is high by chance
    const best = book.best(falling, length, scale);
    if (!last || !best) continue;
    const { by, sigmas } = rise(last, best);
    const other = { then: book.before(risingSeries, length, best.ago), now: book.last(risingSeries, scale) };
    if (other.then && other.now && rise(other.then, other.now).sigmas < -1) continue; // both fell: a bad step, and nothing exploited
    const severity = Math.min(by / threshold, sigmas / surely);
    if (!worst || severity > worst.severity) worst = { severity, from: best.mean, to: last.mean, by };
  }
  return worst;
}

const formatName = /format|think|tag|struct|xml|template/i;
const accuracyName = /accura|numeric|exact|correct|answer|choice|symbolic|math|code|test|compil|json|set|verif/i;

/** The rules that every run on rewards is watched by. */
export const alarmRules: readonly AlarmRule[] = [
  {
    name: 'gold_fell',
    threshold: 0.05,
    of: 'fall of the gold reward from its best, in its own units',
    metrics: ['gold', rewardSeries],
    test(book, threshold) {
      const found = fallBeside(book, 'gold', rewardSeries, threshold, 2.5);
      if (!found) return null;
      return { severity: found.severity, message: `the gold reward fell from ${shown(found.from)} to ${shown(found.to)} while the reward that is trained on did not: the policy has found what the reward pays for and nobody wants. Look at \`samples.jsonl\` for completions with a high \`reward\` and a low \`gold\`, and mend the reward` };
    },
  },
  {
    name: 'gold_apart',
    threshold: 0.1,
    of: 'correlation of reward and gold reward among the completions of a prompt, below which they have parted',
    metrics: ['gold/correlation', 'gold/correlation_error', 'gold', rewardSeries],
    test(book, threshold) {
      const [first, last] = [book.first(rewardSeries, 2), book.last(rewardSeries, 2)];
      if (!first || !last) return null;
      const upward = rise(first, last);
      const rises = goldRises(book);
      let severity = 0;
      let seen = NaN;
      for (const steps of [2, 3, 4, 8, 16]) {
        const [level, errors] = [book.last('gold/correlation', steps), book.last('gold/correlation_error', steps)];
        if (!level || !errors) continue;
        const [{ mean: correlation }, error] = [level, Math.max(errors.mean / Math.sqrt(steps), 1e-6)];
        // Below zero every step takes the gold reward down, whatever it did before.
        const against = upward.by > 0 ? -correlation / (2 * error) : 0;
        // A reward that serves the gold one correlates with it by a third and more. This is 3 standard errors from that, while it rises and the gold reward does not.
        const apart = rises || steps < 3 ? 0 : Math.min(upward.sigmas / 3, (1 / 3 - correlation) / (3 * error), correlation <= threshold ? 1 : threshold / correlation);
        const found = Math.max(against, apart);
        if (!(found > severity)) continue;
        [severity, seen] = [found, correlation];
      }
      return { severity, message: `among the completions of a prompt the reward and the gold reward correlate by ${shown(seen)}, and the reward rises: what it pays for is not what the gold reward does, which falls, or will` };
    },
  },
  {
    name: 'eval_gold_fell',
    threshold: 0.05,
    of: 'fall of the gold reward on held-out rows from its best evaluation, in its own units',
    metrics: ['eval_gold', 'eval_gold_error', 'eval_reward'],
    test(book, threshold) {
      const [last, best, error] = [book.last('eval_gold', 1), book.best('eval_gold', 1, 1), book.last('eval_gold_error', 1)];
      const [rewardThen, rewardNow] = [best && book.before('eval_reward', 1, best.ago), book.last('eval_reward', 1)];
      if (!last || !best || !error || (rewardThen && rewardNow && rewardNow.mean < rewardThen.mean)) return null;
      const by = best.mean - last.mean;
      return { severity: Math.min(by / threshold, by / Math.max(2.5 * error.mean, 1e-6)), message: `on held-out rows the gold reward fell from ${shown(best.mean)} to ${shown(last.mean)} while the reward that is trained on did not: it is being exploited` };
    },
  },
  {
    name: 'format_up_accuracy_down',
    threshold: 0.05,
    of: 'fall of an accuracy reward from its best while a format reward rises',
    metrics: [],
    test(book, threshold) {
      const names = book.names().flatMap((name) => /^rewards\/(.+)\/mean$/.exec(name)?.[1] ?? []);
      const is = (pattern: RegExp, name: string) => pattern.test(name.split('/').at(-1)!);
      const formats = names.filter((name) => is(formatName, name) && !is(accuracyName, name));
      let worst: AlarmFinding | null = null;
      for (const format of formats) {
        const rising = `rewards/${format}/mean`;
        const [first, last] = [book.first(rising, 4), book.last(rising, 4)];
        if (!first || !last) continue;
        const up = rise(first, last);
        for (const accuracy of names.filter((name) => is(accuracyName, name) && !is(formatName, name))) {
          const found = fallBeside(book, `rewards/${accuracy}/mean`, rising, threshold, 3);
          if (!found) continue;
          const severity = Math.min(found.severity, up.sigmas / sure, up.by / 0.05);
          if (!worst || severity > worst.severity) worst = { severity, message: `\`${format}\` rose from ${shown(first.mean)} to ${shown(last.mean)} while \`${accuracy}\` fell from ${shown(found.from)} to ${shown(found.to)}: the form is learnt in place of the answer. A gate (no reward for a right form with a wrong answer), or a smaller weight, may help` };
        }
      }
      return worst;
    },
  },
  {
    name: 'reward_follows_length',
    threshold: 0.6,
    of: 'correlation of reward and length among the completions of a prompt, while completions grow',
    metrics: ['reward/length_correlation', 'completions/mean_length'],
    test(book, threshold) {
      const correlation = book.last('reward/length_correlation', 6);
      const [first, last] = [book.first('completions/mean_length', 4), book.last('completions/mean_length', 4)];
      if (!correlation || !first || !last || goldRises(book)) return null;
      const { by, sigmas } = rise(first, last);
      const severity = Math.min(correlation.mean / threshold, by / (0.25 * Math.max(first.mean, 1)), sigmas / sure);
      return { severity, message: `the longer a completion the more it earns (correlation ${shown(correlation.mean)} among the completions of a prompt), and completions went from ${shown(first.mean)} to ${shown(last.mean)} tokens: length is what is learnt` };
    },
  },
  climbing({
    name: 'repetition', threshold: 0.3, of: "share of a completion's 4-grams that have come before in it", metric: 'completions/repetition', by: 0.2,
    say: (level, first) => `${percent(level.mean)} of the 4-grams in a completion have come before in it, ${percent(first.mean)} at the beginning: repetition is paid for, or not noticed. A repetition penalty among the rewards may stop it`,
  }),
  climbing({
    name: 'repeated_token', threshold: 0.7, of: "share of a completion's tokens that are the same one", metric: 'completions/repeated_tokens', by: 0.2,
    say: (level, first) => `${percent(level.mean)} of the tokens of a completion are one and the same, ${percent(first.mean)} at the beginning: the policy stutters`,
  }),
  climbing({
    name: 'prompt_copied', threshold: 0.5, of: "share of a completion that stands in its prompt, beyond what the row's answer does", metric: 'completions/prompt_copied', by: 0.3,
    say: (level, first) => `${percent(level.mean)} of a completion is taken over from its prompt, ${percent(first.mean)} at the beginning: the reward pays for echoing the question`,
  }),
  climbing({
    name: 'empty_completions', threshold: 0.5, of: 'share of completions without a visible character', metric: 'completions/empty_ratio', by: 0.25,
    say: (level) => `${percent(level.mean)} of the completions are empty: saying nothing is what earns most, or costs least`,
  }),
  {
    name: 'same_completion',
    threshold: 0.5,
    of: "chance that completions of two prompts are the same, beyond what their rows' answers are (rows without `answer`: 0.9)",
    metrics: ['completions/shared_excess', 'completions/shared_across_prompts'],
    test(book, threshold) {
      const judged = book.count('completions/shared_excess') > 0;
      const metric = judged ? 'completions/shared_excess' : 'completions/shared_across_prompts';
      const [first, last] = [book.first(metric, 4), book.last(metric, 4)];
      if (!first || !last || goldRises(book)) return null;
      const { by, sigmas } = rise(first, last);
      const level = judged ? threshold : Math.max(threshold, 0.9);
      return { severity: Math.min(last.mean / level, by / 0.25, sigmas / sure), message: `${percent(last.mean)} of the pairs of prompts get one and the same completion${judged ? ', beyond what their answers share' : ''}: an answer that does not depend on the question is what earns most (the most frequent one, a memorised one, a keyword)` };
    },
  },
  {
    name: 'diversity_collapse',
    threshold: 0.1,
    of: 'entropy of the policy as a share of that at the beginning, while no reward gets better for it',
    metrics: ['entropy', rewardSeries],
    test(book, threshold) {
      const [first, last] = [book.first('entropy', 4), book.last('entropy', window)];
      if (!first || !last || !(first.mean > 0.05) || goldRises(book)) return null;
      if (book.count('gold') === 0 && rewardRises(book)) return null; // mastery looks like this too
      return { severity: Math.min(threshold / Math.max(last.mean / first.mean, 1e-6), rise(last, first).sigmas / sure), message: `the entropy of the policy fell from ${shown(first.mean)} to ${shown(last.mean)} nats a token, and nothing got better for it: it says one thing only` };
    },
  },
  {
    name: 'kl_budget',
    threshold: 100,
    of: 'divergence of a completion from the first weights, in nats (needs a KL term, so that it is measured)',
    metrics: ['kl', 'objective/kl', 'completions/mean_length'],
    test(book, threshold) {
      const [kl, length, whole] = [book.last('kl', 4), book.last('completions/mean_length', 4), book.last('objective/kl', 4)];
      const spent = whole ? whole.mean : kl && length ? kl.mean * length.mean : null; // PPO's is of whole completions
      if (spent === null) return null;
      return { severity: spent / threshold, message: `a completion is ${shown(spent)} nats from the first weights, and the budget is ${threshold}: rewards are less and less reliable there. A larger \`beta\` holds it` };
    },
  },
  {
    name: 'memorised_answers',
    threshold: 0.2,
    of: 'by how much the reward in training rose more than that of the evaluation, which stands still',
    metrics: ['eval_reward', 'train_at_eval'],
    test(book, threshold) {
      const [heldFirst, held] = [book.first('eval_reward', 1), book.last('eval_reward', 2)];
      const [trainFirst, train] = [book.first('train_at_eval', 1), book.last('train_at_eval', 2)];
      if (!heldFirst || !held || !trainFirst || !train || book.count('eval_reward') < 3) return null;
      const [heldUp, trainUp] = [held.mean - heldFirst.mean, train.mean - trainFirst.mean];
      if (heldUp > trainUp / 4) return null;
      return { severity: (trainUp - Math.max(heldUp, 0)) / threshold, message: `the reward in training rose by ${shown(trainUp)} since the first evaluation, that on held-out rows by ${shown(heldUp)}: answers are memorised. More rows, fewer epochs` };
    },
  },
];
