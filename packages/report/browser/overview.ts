import type { PageData, StageData } from '../src/page-data';
import { firstValue, lastValue, type Curve } from './curves';
import { fill, h, svg } from './dom';
import { formatDuration, formatNumber } from './format';
import { minMaxIndices } from '../src/thin';
import type { ViewStore } from './view';

/** What is looked at first, as far as a run has it. */
const wanted = ['reward', 'objective/rlhf_reward', 'eval_reward', 'accuracy', 'eval_accuracy', 'rewards/accuracies', 'kl', 'objective/kl', 'entropy', 'loss', 'eval_loss', 'completions/mean_length'];

/** Tiles: how far the run is, how long it took, and the metrics that matter with where they began; of a pipeline, those of the stage that is chosen. */
export function overview(data: PageData, curves: readonly (readonly Curve[])[], view: ViewStore): HTMLElement {
  const section = h('section', { class: 'tiles', 'aria-label': 'Overview' });
  const draw = () => {
    const chosen = view.now.stage ?? (data.kind === 'run' ? 0 : null);
    const own = chosen === null ? pipelineTiles(data) : runTiles(data.stages[chosen]);
    fill(section, ...own, ...metricTiles(chosen === null ? mainCurves(data, curves) : curves[chosen], data));
  };
  draw();
  view.onChange((changed) => changed.has('stage') && draw());
  return section;
}

function tile(title: string, value: string, note: string, picture?: Element): HTMLElement {
  return h('div', { class: 'tile' }, h('div', { class: 'tile-title', title }, title), h('div', { class: 'tile-value' }, value), h('div', { class: 'tile-note' }, note), picture);
}

function runTiles({ run, seconds: measured }: StageData): HTMLElement[] {
  const seconds = measured ?? (run.started !== null && run.ended !== null ? (run.ended - run.started) / 1000 : null);
  const steps = run.totalSteps === null ? '' : `of ${run.totalSteps.toLocaleString('en')}`;
  const done = run.step > 0 || run.totalSteps !== null ? [tile('Steps', run.step.toLocaleString('en'), steps, progress(run.totalSteps ? run.step / run.totalSteps : null))] : [];
  return [...done, tile('Time', formatDuration(seconds), [run.backend, run.precision].filter(Boolean).join(', '))];
}

function pipelineTiles(data: PageData): HTMLElement[] {
  const done = data.stages.filter(({ status }) => status === 'done').length;
  const line = data.stages.filter(({ name }) => !name.includes('/'));
  const seconds = line.reduce((sum, stage) => sum + (stage.seconds ?? 0), 0);
  return [tile('Stages', `${done}`, `of ${data.stages.length} done`, progress(done / data.stages.length)), tile('Time', formatDuration(seconds), data.seed === undefined ? '' : `seed ${data.seed}`)];
}

/** Those of the last stage that has a reward, or else any; of a branch only where no other has. */
function mainCurves(data: PageData, curves: readonly (readonly Curve[])[]): readonly Curve[] {
  const inLine = (list: readonly Curve[]) => list.length > 0 && !data.stages[list[0].stage].name.includes('/');
  const having = (test: (curve: Curve) => boolean) => [...curves.filter((list) => !inLine(list)), ...curves.filter(inLine)].filter((list) => list.some(test)).at(-1);
  return having(({ metric }) => metric === 'reward' || metric === 'objective/rlhf_reward') ?? having(() => true) ?? [];
}

function metricTiles(curves: readonly Curve[], data: PageData): HTMLElement[] {
  const found = wanted.flatMap((name) => curves.filter(({ metric }) => metric === name)).slice(0, 5);
  return found.map((curve) => tile(curve.metric, formatNumber(lastValue(curve.values)), [`from ${formatNumber(firstValue(curve.values))}`, data.stages[curve.stage].name].filter(Boolean).join(' · '), sparkline(curve)));
}

function progress(share: number | null): Element | undefined {
  if (share === null || !Number.isFinite(share)) return undefined;
  const bar = h('i', {});
  bar.style.width = `${Math.round(100 * Math.min(1, share))}%`;
  return h('div', { class: 'progress' }, bar);
}

function sparkline({ values }: Curve): Element | undefined {
  if (values.length < 3) return undefined;
  const kept = minMaxIndices(values, 0, values.length, 60).filter((i) => Number.isFinite(values[i]));
  const least = Math.min(...kept.map((i) => values[i]));
  const height = Math.max(...kept.map((i) => values[i])) - least || 1;
  const points = kept.map((i) => `${((100 * i) / (values.length - 1)).toFixed(1)},${(22 - (20 * (values[i] - least)) / height).toFixed(1)}`);
  return svg('svg', { class: 'spark', viewBox: '0 0 100 24', preserveAspectRatio: 'none', 'aria-hidden': 'true' }, svg('polyline', { points: points.join(' ') }));
}
