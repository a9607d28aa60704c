import { compareMetrics, groupOf, metricGroups } from '../src/metric-groups';
import type { PageData } from '../src/page-data';
import { Chart } from './chart';
import type { Curve } from './curves';
import { fill, h } from './dom';
import { formatNumber, plural } from './format';
import type { Line } from './line';
import { marksOf, type NumberedNotice } from './markers';
import { lineColour } from './theme';
import type { ViewStore } from './view';

/** All curves, in groups, with what changes how they are drawn. */
export function curvesSection(data: PageData, curves: readonly (readonly Curve[])[], notices: readonly NumberedNotice[], view: ViewStore): HTMLElement | null {
  if (curves.every((list) => list.length === 0)) return null;
  const body = h('div', { class: 'groups' });
  let charts: Chart[] = [];
  const sight = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) charts.find(({ element }) => element === target)?.reveal(isIntersecting);
  }, { rootMargin: '60px' });
  const sized = new ResizeObserver(() => charts.forEach((chart) => chart.resize()));

  function build(): void {
    sight.disconnect();
    for (const chart of charts) chart.destroy();
    charts = [];
    const { stage } = view.now;
    const shown = curves.filter((_, index) => stage === null || stage === index).flat();
    const cards = groupCharts(linesOf(shown, data, stage)).map(({ group, metrics }) => {
      const own = metrics.map(([metric, lines]) => new Chart({ metric, lines, view, marks: marksOf(notices, metric, new Set(lines.map(({ curve }) => curve.stage))) }));
      charts.push(...own);
      return h('details', { class: 'group', open: true, ontoggle: () => own.forEach((chart) => chart.resize()) }, h('summary', {}, group, h('span', { class: 'count' }, String(metrics.length))), h('div', { class: 'charts' }, ...own.map(({ element }) => element)));
    });
    fill(body, ...cards);
    for (const { element } of charts) sight.observe(element);
    filter();
  }

  function filter(): void {
    const wanted = view.now.filter.toLowerCase();
    for (const { element, metric } of charts) element.hidden = !metric.toLowerCase().includes(wanted);
    for (const group of body.querySelectorAll<HTMLElement>('.group')) group.hidden = group.querySelector('.chart:not([hidden])') === null;
  }

  build();
  sized.observe(body);
  addEventListener('beforeprint', () => charts.forEach((chart) => chart.reveal(true)));
  view.onChange((changed) => {
    if (changed.has('stage')) return build();
    if (changed.has('filter')) filter();
    if (changed.has('log') || changed.has('theme')) charts.forEach((chart) => chart.draw());
    else if (changed.has('zoom') || changed.has('smoothing')) charts.forEach((chart) => chart.refresh());
  });
  const rows = data.stages.reduce((sum, { run }) => sum + run.curves.rows, 0);
  const thinned = curves.flat().filter(({ values, total }) => values.length < total);
  const note = `${plural(rows, 'record')} of metrics${thinned.length > 0 ? `; of the longest curves the page holds ${formatNumber(thinned[0].values.length)} points of ${formatNumber(thinned[0].total)}, extremes kept` : ''}. Drag over a curve to look closer; double-click or Escape shows all.`;
  return h('section', { id: 'curves', 'aria-labelledby': 'curves-title' }, h('div', { class: 'section-head' }, h('h2', { id: 'curves-title' }, 'Curves'), controls(view)), h('p', { class: 'hint' }, note), body);
}

/** Lines by the metric of their chart: an evaluation's stands with the metric that it is of, where that is logged too. */
function linesOf(shown: readonly Curve[], data: PageData, stage: number | null): Map<string, Line[]> {
  const names = new Set(shown.map(({ metric }) => metric));
  const many = data.stages.length > 1 && stage === null;
  const charts = new Map<string, Line[]>();
  for (const curve of shown) {
    const plain = curve.metric.replace(/^eval_/, '');
    const evaluation = plain !== curve.metric;
    const metric = evaluation && names.has(plain) ? plain : curve.metric;
    const paired = evaluation && metric === plain;
    const label = many ? `${data.stages[curve.stage].name}${paired ? ' held out' : ''}` : paired ? 'held out' : 'training';
    const index = many ? curve.stage : paired ? 1 : 0;
    charts.set(metric, [...(charts.get(metric) ?? []), { curve, label, colour: () => lineColour(index), dashed: paired }]);
  }
  return charts;
}

function groupCharts(charts: ReadonlyMap<string, Line[]>) {
  const sorted = [...charts].sort(([a], [b]) => compareMetrics(a, b));
  return metricGroups.map((group) => ({ group, metrics: sorted.filter(([metric]) => groupOf(metric) === group) })).filter(({ metrics }) => metrics.length > 0);
}

function controls(view: ViewStore): HTMLElement {
  const value = h('output', { for: 'smoothing' }, '0');
  const slider = h('input', { type: 'range', id: 'smoothing', min: 0, max: 0.99, step: 0.01, value: 0 });
  slider.addEventListener('input', () => {
    value.textContent = slider.value;
    view.set({ smoothing: Number(slider.value) });
  });
  const log = h('input', { type: 'checkbox', id: 'log' });
  log.addEventListener('change', () => view.set({ log: log.checked }));
  const filter = h('input', { type: 'search', id: 'metric-filter', placeholder: 'Find a metric', 'aria-label': 'Find a metric' });
  filter.addEventListener('input', () => view.set({ filter: filter.value }));
  const all = h('button', { type: 'button', class: 'button', hidden: true, onclick: () => view.set({ zoom: null }) }, 'Show all steps');
  view.onChange(() => (all.hidden = view.now.zoom === null));
  return h('div', { class: 'controls' }, all, h('label', {}, 'Smoothing ', slider, value), h('label', { class: 'check' }, log, ' Log scale'), filter);
}
