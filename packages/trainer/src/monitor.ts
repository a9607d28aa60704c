import type { Metrics, Notice } from '@espalier/spec';
import { alarmRules } from './alarm-rules';
import { chooseAlarms, type ChosenRule } from './monitor-options';
import { monitorRules, type MonitorRule } from './monitor-rules';
import { rise, SeriesBook, type SeriesState } from './monitor-series';

interface Watched {
  metric: string;
  recent: number[];
  /** Sum and number of the first values. */
  first: { sum: number; count: number };
}

/** What a {@link RunMonitor} has seen: plain JSON, saved with a checkpoint. */
export interface MonitorState {
  watched: { [rule: string]: Watched };
  raised: string[];
  /** What the alarms are told from. */
  series?: SeriesState;
}

/** Something to be alarmed by, with what is to be done about it. */
export interface Alarm extends Notice {
  action: NonNullable<Notice['action']>;
}

const seriesWatched = new Set(['reward', 'gold', 'gold/correlation', 'entropy', 'kl', 'completions/mean_length', 'reward/length_correlation', ...alarmRules.flatMap(({ metrics }) => metrics), 'completions/repetition', 'completions/repeated_tokens']);

/**
 * Watches a run's metrics step by step and says, once for each rule, what a practitioner would be alarmed by: groups without variance, a negative
 * mean KL, exploding log-ratios, a reward that is flat for long, completions that grow or repeat themselves.
 *
 * @example
 * const monitor = new RunMonitor();
 * for (const notice of monitor.observe(step, metrics)) console.error(`${notice.name}: ${notice.message}`);
 */
export class RunMonitor {
  private seen: MonitorState;
  private readonly book: SeriesBook;
  /** How near the run is to an alarm: 1 raises it, below a half nothing is suspect. */
  severity = 0;

  constructor(
    state: MonitorState = { watched: {}, raised: [] },
    private readonly rules: readonly MonitorRule[] = monitorRules,
    private readonly alarms: ReadonlyMap<string, ChosenRule> = chooseAlarms(),
  ) {
    this.seen = structuredClone(state);
    this.book = new SeriesBook((this.seen.series ??= {}));
  }

  /**
   * The alarms after a round: signs that the reward is being exploited, each once a run.
   * @param metrics of the round; those of an evaluation count with the prefix `eval_`
   */
  alarm(step: number, metrics: Metrics): Alarm[] {
    const { reward = metrics['objective/scores'] } = metrics;
    for (const [name, value] of Object.entries({ ...metrics, reward })) if (seriesWatched.has(name) || /^rewards\/.+\/mean$/.test(name)) this.book.push(name, value);
    if (metrics['eval_reward'] !== undefined) this.book.push('train_at_eval', this.book.last('reward', Math.min(8, Math.max(1, this.book.count('reward'))))?.mean);
    const raised: Alarm[] = [];
    this.severity = 0;
    for (const rule of alarmRules) {
      const chosen = this.alarms.get(rule.name);
      if (chosen?.action === undefined) continue;
      const found = rule.test(this.book, chosen.threshold);
      if (!found || !(found.severity > 0)) continue;
      this.severity = Math.max(this.severity, found.severity);
      if (found.severity < 1 || this.has(rule.name)) continue;
      raised.push(this.raise({ name: rule.name, level: 'warning', message: found.message, step, action: chosen.action }) as Alarm);
    }
    return raised;
  }

  /** Mean of the gold reward over the last `n` rounds; null where there is none. */
  gold(n: number): number | null {
    return this.book.last('gold', Math.min(n, this.book.count('gold')) || 1)?.mean ?? null;
  }

  /** What there is to say after a step, besides alarms. Metrics that are missing or not finite are passed over. */
  observe(step: number, metrics: Metrics): Notice[] {
    const notices: Notice[] = [];
    for (const rule of this.rules) {
      if (this.seen.raised.includes(rule.name) || (this.rules === monitorRules && !this.alarms.has(rule.name)) || (rule.beside !== undefined && metrics[rule.beside] === undefined) || (rule.unlessLearnt && this.learnt())) continue;
      const metric = rule.metrics.find((name) => Number.isFinite(metrics[name]));
      if (metric === undefined) continue;
      const watched = (this.seen.watched[rule.name] ??= { metric, recent: [], first: { sum: 0, count: 0 } });
      if (watched.metric !== metric) continue; // a step that has another of the rule's metrics says nothing of this one
      watched.recent.push(metrics[metric]);
      if (watched.recent.length > rule.window) watched.recent.shift();
      if (watched.first.count < rule.window) {
        watched.first.sum += metrics[metric];
        watched.first.count++;
      }
      if (watched.recent.length < rule.window) continue;
      const { threshold, action } = this.alarms.get(rule.name) ?? { threshold: rule.threshold ?? NaN, action: undefined };
      const message = rule.test({ metric, recent: watched.recent, first: watched.first.sum / watched.first.count }, threshold);
      if (message !== null) notices.push(this.raise({ name: rule.name, level: rule.level, message, step, ...(action === undefined ? {} : { action }) }));
    }
    return notices;
  }

  /** Whether the reward is well above where it began, and the gold reward, where there is one, too. */
  private learnt(): boolean {
    return ['reward', 'gold'].every((name) => {
      if (name === 'gold' && this.book.count(name) === 0) return true;
      const [first, last] = [this.book.first(name, 4), this.book.last(name, 8)];
      return first !== null && last !== null && rise(first, last).sigmas > 4;
    });
  }

  /** Marks a notice as said; one that was said already is told apart by {@link has}. */
  raise(notice: Notice): Notice {
    this.seen.raised.push(notice.name);
    delete this.seen.watched[notice.name];
    return notice;
  }

  has(name: string): boolean {
    return this.seen.raised.includes(name);
  }

  state(): MonitorState {
    return structuredClone(this.seen);
  }
}

/** Share of the n-grams of a text's tokens that have come before in it; 0 for a text without n-grams. */
export function repetition(tokens: ArrayLike<number>, n = 4): number {
  const total = tokens.length - n + 1;
  if (total < 1) return 0;
  const seen = new Set<string>();
  for (let i = 0; i < total; i++) seen.add(Array.prototype.slice.call(tokens, i, i + n).join(' '));
  return 1 - seen.size / total;
}

