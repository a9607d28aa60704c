import type { PageData, StageData } from '../src/page-data';
import { fill, h } from './dom';
import { formatDuration, formatNumber } from './format';
import { lineColour } from './theme';
import type { ViewStore } from './view';

/** Columns that are shown first, as far as stages have them. */
const first = ['accuracy', 'eval_accuracy', 'eval_reward', 'reward', 'perplexity', 'eval_perplexity', 'eval_loss', 'loss', 'steps'];
const few = 6;

/** The stages of a pipeline with their times and metrics. Choosing one shows its curves, samples and configuration alone. */
export function stageTable(data: PageData, view: ViewStore): HTMLElement | null {
  if (data.kind !== 'pipeline') return null;
  const names = new Set(data.stages.flatMap(({ metrics }) => Object.keys(metrics)));
  const known = [...first.filter((name) => names.has(name)), ...[...names].filter((name) => !first.includes(name)).sort()];
  const longest = Math.max(...data.stages.map(({ seconds }) => seconds ?? 0), 1e-9);
  let all = false;
  const place = h('div', { class: 'table-wrap', tabindex: 0, role: 'region', 'aria-label': 'Stages' });

  function row(stage: StageData, index: number, columns: readonly string[]): HTMLElement {
    const bar = h('i', {});
    bar.style.width = `${Math.max(1, (100 * (stage.seconds ?? 0)) / longest)}%`;
    const dot = h('i', { class: 'dot' });
    dot.style.setProperty('--ink', lineColour(index));
    const chosen = view.now.stage === index;
    const depth = stage.name.split('/').length - 1;
    const label = h('button', { type: 'button', class: 'stage-link', 'aria-pressed': String(chosen), onclick: () => view.set({ stage: chosen ? null : index }) }, dot, stage.name);
    if (depth > 0) label.style.marginInlineStart = `${depth * 16}px`;
    return h('tr', chosen ? { class: 'chosen' } : {}, h('th', { scope: 'row' }, label), h('td', {}, h('span', { class: `status ${stage.status}` }, stage.status)), h('td', { class: 'time' }, h('span', {}, stage.seconds ? formatDuration(stage.seconds) : '–'), h('div', { class: 'progress' }, bar)), ...columns.map((name) => h('td', { class: 'number' }, name in stage.metrics ? formatNumber(stage.metrics[name]) : '')));
  }

  function draw(): void {
    const columns = all ? known : known.slice(0, few);
    fill(place, h('table', {}, h('thead', {}, h('tr', {}, ...['Stage', 'Status', 'Time'].map((title) => h('th', { scope: 'col' }, title)), ...columns.map((name) => h('th', { scope: 'col', class: 'number' }, name)))), h('tbody', {}, ...data.stages.map((stage, index) => row(stage, index, columns)))));
  }

  const more = h('button', { type: 'button', class: 'button', 'aria-pressed': 'false' }, `All ${known.length} metrics`);
  more.addEventListener('click', () => {
    all = !all;
    more.setAttribute('aria-pressed', String(all));
    draw();
  });
  draw();
  view.onChange((changed) => (changed.has('stage') || changed.has('theme')) && draw());
  return h('section', { id: 'stages', 'aria-labelledby': 'stages-title' }, h('div', { class: 'section-head' }, h('h2', { id: 'stages-title' }, 'Stages'), known.length > few && h('div', { class: 'controls' }, more)), h('p', { class: 'hint' }, 'Choose a stage to see it alone; choose it again to see all of them together.'), place);
}

/** The same choice where the table is out of sight. */
export function stagePicker(data: PageData, view: ViewStore): HTMLElement | null {
  if (data.stages.length < 2) return null;
  const select = h('select', { id: 'stage' }, h('option', { value: '' }, 'All stages'), ...data.stages.map(({ name }, index) => h('option', { value: index }, name)));
  select.addEventListener('change', () => view.set({ stage: select.value === '' ? null : Number(select.value) }));
  view.onChange((changed) => changed.has('stage') && (select.value = view.now.stage === null ? '' : String(view.now.stage)));
  return h('label', {}, 'Stage ', select);
}
