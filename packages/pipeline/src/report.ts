import type { Artifacts } from '@espalier/spec';

export interface StageReport {
  name: string;
  dir: string;
  /** Taken over from an earlier run. */
  skipped: boolean;
  /** What it took when it ran, resumed parts included. */
  seconds: number;
  metrics: Readonly<Record<string, number>>;
  gives: Partial<Artifacts>;
}

/** How a pipeline went. */
export interface PipelineReport {
  dir: string;
  seed: number;
  stages: readonly StageReport[];
  /** What exists at the end. */
  artifacts: Partial<Artifacts>;
}

export interface TableOptions {
  /** Columns, by metric name; default: every metric that a stage gave, in order of appearance. */
  metrics?: readonly string[];
  /** Printed names of metrics. */
  titles?: Readonly<Record<string, string>>;
}

/** A number as a table shows it: at most four significant digits, no exponent where it can be avoided. */
export function formatNumber(value: number | undefined): string {
  if (value === undefined) return '';
  if (!Number.isFinite(value)) return String(value);
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return size >= 1000 ? value.toFixed(0) : size >= 1e-3 ? String(Number(value.toPrecision(4))) : value.toExponential(2);
}

/** Text in columns: numbers right-aligned, the rest left-aligned. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((title, c) => Math.max(title.length, ...rows.map((row) => (row[c] ?? '').length)));
  const numeric = header.map((_, c) => rows.some((row) => row[c]) && rows.every((row) => !row[c] || Number.isFinite(Number(row[c].replace(/\s*%$/, '')))));
  const line = (cells: readonly string[]) => widths.map((width, c) => (numeric[c] ? (cells[c] ?? '').padStart(width) : (cells[c] ?? '').padEnd(width))).join('  ').trimEnd();
  return [line(header), widths.map((width) => '─'.repeat(width)).join('  '), ...rows.map(line)].join('\n');
}

/**
 * One line a stage: its name, its time and its metrics.
 * @example
 * console.log(reportTable(report, { metrics: ['accuracy'], titles: { accuracy: 'held-out accuracy' } }));
 */
export function reportTable(report: PipelineReport, options: TableOptions = {}): string {
  const metrics = options.metrics ?? [...new Set(report.stages.flatMap((stage) => Object.keys(stage.metrics)))];
  const header = ['stage', 'seconds', ...metrics.map((name) => options.titles?.[name] ?? name)];
  const rows = report.stages.map((stage) => [stage.skipped ? `${stage.name} (kept)` : stage.name, stage.seconds.toFixed(1), ...metrics.map((name) => formatNumber(stage.metrics[name]))]);
  return formatTable(header, rows);
}
