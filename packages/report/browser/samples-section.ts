import type { PageData } from '../src/page-data';
import { fill, h } from './dom';
import { plural } from './format';
import { SampleDetail } from './sample-detail';
import { SampleList } from './sample-list';
import { SampleStore, type SampleOrder } from './sample-store';
import type { ViewStore } from './view';

const orders: readonly (readonly [SampleOrder, string])[] = [
  ['step', 'as they came'],
  ['reward-down', 'highest reward first'],
  ['reward-up', 'lowest reward first'],
  ['advantage', 'largest advantage first'],
  ['long', 'longest first'],
];

/** The samples: a list to search and to go through, and one of them in full. */
export function samplesSection(data: PageData, view: ViewStore): HTMLElement | null {
  const store = new SampleStore(data);
  if (store.samples.length === 0) return null;
  const rewards = store.samples.flatMap(({ reward }) => (reward === null ? [] : [reward]));
  const range = { least: rewards.reduce((a, b) => Math.min(a, b), Infinity), greatest: rewards.reduce((a, b) => Math.max(a, b), -Infinity) };
  const largest = store.samples.reduce((most, { advantage, tokenAdvantages }) => (tokenAdvantages ?? [advantage ?? 0]).reduce((a, b) => Math.max(a, Math.abs(b)), most), 0);
  const detail = new SampleDetail(largest);
  const search = h('input', { type: 'search', id: 'sample-search', placeholder: 'Search samples', 'aria-label': 'Search prompts and completions' });
  const step = h('select', { id: 'sample-step', 'aria-label': 'Step' });
  const order = h('select', { 'aria-label': 'Order' }, ...orders.map(([value, title]) => h('option', { value }, title)));
  const count = h('span', { class: 'count', id: 'sample-count', role: 'status' });
  const list = new SampleList((sample) => detail.show(sample, search.value));

  function offerSteps(): void {
    const steps = store.steps(view.now.stage);
    fill(step, h('option', { value: '' }, 'all steps'), ...steps.map((value) => h('option', { value }, `step ${value}`)));
    step.hidden = steps.length < 2;
  }

  function find(): void {
    const found = store.find({ stage: view.now.stage, step: step.value === '' ? null : Number(step.value), text: search.value, order: order.value as SampleOrder });
    count.textContent = found.length === store.samples.length && found.length < store.total ? `${found.length.toLocaleString('en')} of ${store.total.toLocaleString('en')} samples, whole steps evenly spread` : plural(found.length, 'sample');
    list.show(found, range);
  }

  search.addEventListener('input', find);
  step.addEventListener('change', find);
  order.addEventListener('change', find);
  view.onChange((changed) => {
    if (!changed.has('stage')) return;
    offerSteps();
    find();
  });
  offerSteps();
  find();
  return h('section', { id: 'samples', 'aria-labelledby': 'samples-title' }, h('div', { class: 'section-head' }, h('h2', { id: 'samples-title' }, 'Samples'), count, h('div', { class: 'controls' }, search, step, order)), h('div', { class: 'samples' }, list.element, detail.element));
}
