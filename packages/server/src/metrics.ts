/** Upper bounds of histogram buckets, in seconds. */
const buckets = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

class Histogram {
  readonly counts = new Array<number>(buckets.length + 1).fill(0);
  sum = 0;

  observe(seconds: number): void {
    const at = buckets.findIndex((bound) => seconds <= bound);
    this.counts[at < 0 ? buckets.length : at]++;
    this.sum += seconds;
  }
}

const labels = (pairs: Readonly<Record<string, string>>) =>
  Object.entries(pairs)
    .map(([name, value]) => `${name}="${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`)
    .join(',');

/** Counts of a server, as Prometheus reads them. Labels come from small fixed sets: routes, statuses, models that are served. */
export class ServerMetrics {
  private readonly requests = new Map<string, number>();
  private readonly tokens = new Map<string, number>();
  private readonly aborted = new Map<string, number>();
  private readonly durations = new Map<string, Histogram>();
  private readonly firstToken = new Histogram();

  request(route: string, status: number, seconds: number): void {
    bump(this.requests, labels({ route, status: String(status) }));
    const key = labels({ route });
    const histogram = this.durations.get(key) ?? new Histogram();
    this.durations.set(key, histogram);
    histogram.observe(seconds);
  }

  generated(model: string, counts: { prompt: number; completion: number }): void {
    bump(this.tokens, labels({ model, kind: 'prompt' }), counts.prompt);
    bump(this.tokens, labels({ model, kind: 'completion' }), counts.completion);
  }

  /** A request that ended before its time: its reader left (`disconnect`), did not read (`stall`), or the server was stopped (`shutdown`). */
  abort(reason: 'disconnect' | 'stall' | 'shutdown'): void {
    bump(this.aborted, labels({ reason }));
  }

  timeToFirstToken(seconds: number): void {
    this.firstToken.observe(seconds);
  }

  /** The text format of Prometheus, version 0.0.4. */
  render(gauges: Readonly<Record<string, { help: string; value: number }>>): string {
    const lines: string[] = [];
    const head = (name: string, type: string, help: string) => lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
    const counter = (name: string, help: string, values: ReadonlyMap<string, number>) => {
      head(name, 'counter', help);
      for (const [key, value] of values) lines.push(`${name}{${key}} ${value}`);
    };
    const histogram = (name: string, key: string, { counts, sum }: Histogram) => {
      let below = 0;
      const prefix = key ? `${key},` : '';
      counts.forEach((count, i) => lines.push(`${name}_bucket{${prefix}le="${i < buckets.length ? buckets[i] : '+Inf'}"} ${(below += count)}`));
      const suffix = key ? `{${key}}` : '';
      lines.push(`${name}_sum${suffix} ${sum}`, `${name}_count${suffix} ${below}`);
    };
    counter('espalier_requests_total', 'Requests answered, by route and status.', this.requests);
    counter('espalier_tokens_total', 'Tokens of prompts taken in and of completions generated.', this.tokens);
    counter('espalier_aborted_requests_total', 'Generations ended before their time, by reason.', this.aborted);
    head('espalier_request_duration_seconds', 'histogram', 'From request to the end of its answer.');
    for (const [key, values] of this.durations) histogram('espalier_request_duration_seconds', key, values);
    head('espalier_time_to_first_token_seconds', 'histogram', 'From request to the first token of a stream.');
    histogram('espalier_time_to_first_token_seconds', '', this.firstToken);
    for (const [name, { help, value }] of Object.entries(gauges)) {
      head(name, 'gauge', help);
      lines.push(`${name} ${value}`);
    }
    return `${lines.join('\n')}\n`;
  }
}

function bump(map: Map<string, number>, key: string, by = 1): void {
  map.set(key, (map.get(key) ?? 0) + by);
}
