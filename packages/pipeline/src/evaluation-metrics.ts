import type { Metrics } from '@espalier/spec';
import { evaluationMetrics } from '@espalier/trainer';
import type { PolicyEvaluation } from './evaluate-policy';
import type { PipelineReport } from './report';
import { formatNumber, formatTable } from './report';

/** An evaluation as metrics of a stage: those of the trainers, and the ends of the accuracy's interval. */
export function policyMetrics(evaluation: PolicyEvaluation): Metrics {
  const { accuracyInterval: interval } = evaluation;
  return { ...evaluationMetrics(evaluation), ...(interval ? { accuracy_low: interval[0], accuracy_high: interval[1] } : {}) };
}

/** Those of several tasks, each under `tasks/NAME/`. */
export function taskMetrics(evaluations: ReadonlyMap<string, PolicyEvaluation>): Metrics {
  return Object.fromEntries([...evaluations].flatMap(([task, evaluation]) => Object.entries(policyMetrics(evaluation)).map(([name, value]) => [`tasks/${task}/${name}`, value])));
}

const accuracyOf = /^(?:(tasks\/.+)\/)?accuracy$/;

/**
 * What stages of evaluation found, one line a stage: each accuracy in per cent with its 95 % interval, perplexity with its change against the first line.
 * @returns null where no stage measured an accuracy with its interval, or perplexity
 * @example
 * console.log(evaluationTable(await runPipeline(evaluateEach(line, { tasks: ['arithmetic:size=200'], perplexity: 'general' }), { outputDir: 'runs/sums' })));
 */
export function evaluationTable(report: PipelineReport): string | null {
  const stages = report.stages.filter(({ metrics }) => metrics['perplexity'] !== undefined || Object.keys(metrics).some((name) => name.endsWith('accuracy_low')));
  if (stages.length === 0) return null;
  const names = [...new Set(stages.flatMap(({ metrics }) => Object.keys(metrics).filter((name) => accuracyOf.test(name))))];
  const title = (name: string) => accuracyOf.exec(name)![1]?.slice('tasks/'.length) ?? 'accuracy';
  const percent = (value: number) => (100 * value).toFixed(1);
  const first = stages.map(({ metrics }) => metrics['perplexity']).find((value) => value !== undefined);
  const rows = stages.map(({ name, metrics }) => [
    name.replace(/^evaluate-(?=.)/, ''),
    ...names.map((metric) => {
      const [value, low, high] = [metrics[metric], metrics[`${metric}_low`], metrics[`${metric}_high`]];
      if (value === undefined) return '';
      return low === undefined || high === undefined ? `${percent(value)} %` : `${percent(value)} % (${percent(low)}–${percent(high)})`;
    }),
    perplexityCell(metrics['perplexity'], first),
  ]);
  return formatTable(['model after', ...names.map(title), 'perplexity'], rows);
}

function perplexityCell(value: number | undefined, first: number | undefined): string {
  if (value === undefined || first === undefined) return '';
  const change = 100 * (value / first - 1);
  return value === first ? formatNumber(value) : `${formatNumber(value)} (${change >= 0 ? '+' : '−'}${Math.abs(change).toFixed(1)} %)`;
}
