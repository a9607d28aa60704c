import type { Metrics, Notice } from '@espalier/spec';
import { monitorRules, type MonitorRule } from './monitor-rules';

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
}

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

  constructor(state: MonitorState = { watched: {}, raised: [] }, private readonly rules: readonly MonitorRule[] = monitorRules) {
    this.seen = structuredClone(state);
  }

  /** What there is to say after a step. Metrics that are missing or not finite are passed over. */
  observe(step: number, metrics: Metrics): Notice[] {
    const notices: Notice[] = [];
    for (const rule of this.rules) {
      if (this.seen.raised.includes(rule.name) || (rule.beside !== undefined && metrics[rule.beside] === undefined)) continue;
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
      const message = rule.test({ metric, recent: watched.recent, first: watched.first.sum / watched.first.count });
      if (message !== null) notices.push(this.raise({ name: rule.name, level: rule.level, message, step }));
    }
    return notices;
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

