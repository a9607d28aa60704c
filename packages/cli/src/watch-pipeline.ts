import { formatNumber, type PipelineEvent } from '@espalier/pipeline';
import { startProgress, type Progress } from './progress';

/** Metrics that are worth a place in a progress bar. */
const shown = ['reward', 'loss', 'completions/mean_length'];

/**
 * Shows a pipeline's events on standard error: a progress bar a stage, and a line where one begins or is kept from an earlier run.
 * @param note writes a line
 * @example
 * const view = watchPipeline((line) => console.error(line));
 * await runPipeline(stages, { outputDir: 'runs/sums', onEvent: view.onEvent }).finally(view.stop);
 */
export function watchPipeline(note: (line: string) => void): { onEvent(event: PipelineEvent): void; stop(): void } {
  let progress: Progress | undefined;
  let began = 0;
  return {
    onEvent(event) {
      if (event.type === 'stage-start') {
        progress = undefined;
        began = performance.now();
        note(`stage ${event.index + 1}/${event.total} ${event.stage}${event.resuming ? ' (going on)' : ''}`);
      } else if (event.type === 'step') {
        progress ??= startProgress(event.stage, { unit: 'step', total: event.total, start: event.step - 1, began });
        progress.update(event.step, shown.filter((name) => Number.isFinite(event.metrics[name])).map((name) => `${name} ${formatNumber(event.metrics[name])}`).join(' · '));
      } else if (event.type === 'notice') {
        const line = `${event.level}: ${event.name}: ${event.message}`;
        if (progress) progress.note(line);
        else note(line);
      } else {
        progress?.stop();
        progress = undefined;
        if (event.skipped) note(`stage ${event.index + 1}/${event.total} ${event.stage}: kept`);
      }
    },
    stop: () => progress?.stop(),
  };
}
