import type { StagePlan } from '@espalier/pipeline';
import type { RunPlan } from '@espalier/trainer';
import type { Output } from '../output';
import { duration } from '../progress';
import { estimatePlan, planJson, planLines, type EstimatedPlan } from './print-plan';

/** A dry run fetches nothing: models and datasets of the hub are taken from the cache, or not at all. */
export function beginDryRun(): void {
  process.env['HF_HUB_OFFLINE'] = '1';
}

/** Prints a trainer's plan with its estimates. */
export async function reportPlan(plan: RunPlan, values: Readonly<Record<string, unknown>>, output: Output): Promise<void> {
  const { backend, precision, bf16 } = values as { backend?: string; precision?: 'bf16' | 'fp32'; bf16?: boolean };
  const chosen = precision ?? (bf16 === undefined ? undefined : bf16 ? 'bf16' : 'fp32');
  const estimated = await estimatePlan(plan, { ...(backend === undefined ? {} : { backend }), ...(chosen === undefined ? {} : { precision: chosen }) });
  await output.result({ dry_run: true, ...planJson(estimated) });
  for (const line of planLines(estimated)) output.line(line);
  output.line('nothing was written');
}

/** Prints what a pipeline would do, stage by stage, and what all of it takes. A stage opens its model itself: its backend is the default one in the estimate. */
export async function reportPipelinePlan(stages: readonly StagePlan[], output: Output): Promise<void> {
  const estimates: (EstimatedPlan | null)[] = [];
  for (const { run } of stages) {
    const same = estimates.find((known) => known && run && known.plan.model.config === run.model.config && known.plan.kind === run.kind);
    estimates.push(run && (await estimatePlan(run, {}, same?.rates)));
  }
  const known = estimates.filter((estimate) => estimate !== null);
  const seconds = known.reduce((sum, { time }) => sum + time.run, 0);
  const peak = known.reduce((most, { memory }) => Math.max(most, memory.peak), 0);
  await output.result({
    dry_run: true,
    stages: stages.map(({ name, action, needs, gives, note }, i) => ({ name, action, needs, gives, ...(note === null ? {} : { note }), ...(estimates[i] ? planJson(estimates[i]) : {}) })),
    memory_peak: peak,
    seconds,
  });
  for (const [i, { name, action, needs, gives, note }] of stages.entries()) {
    output.line(`${i === 0 ? '' : '\n'}${name}: ${action}${needs.length > 0 ? ` · needs ${needs.join(', ')}` : ''}${gives.length > 0 ? ` · gives ${gives.join(', ')}` : ''}${note === null ? '' : ` · ${note}`}`);
    if (estimates[i]) for (const line of planLines(estimates[i])) output.line(`  ${line}`);
  }
  if (known.length > 0) output.line(`\nall stages: about ${duration(seconds)} of training, ${(peak / 1e9).toFixed(1)} GB at the peak${known.length < stages.filter(({ action }) => action !== 'kept').length ? '; stages that are not reckoned come on top' : ''}`);
  output.line('nothing was run or written');
}
