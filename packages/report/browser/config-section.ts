import type { Json, PageData } from '../src/page-data';
import { fill, h } from './dom';
import type { ViewStore } from './view';

/** The configuration of a run, or of the stage that is chosen: a line a field, to be searched. */
export function configSection(data: PageData, view: ViewStore): HTMLElement | null {
  const having = data.stages.flatMap(({ run }, index) => (run.config !== null || run.command !== null ? [index] : []));
  if (having.length === 0) return null;
  const place = h('div', {});
  const search = h('input', { type: 'search', id: 'config-search', placeholder: 'Find a field', 'aria-label': 'Find a field of the configuration' });

  function draw(): void {
    const wanted = search.value.toLowerCase();
    const shown = having.filter((index) => view.now.stage === null || view.now.stage === index);
    const blocks = shown.map((index) => {
      const { name, run } = data.stages[index];
      const table = (title: string, value: Json) => {
        const fields = flatten(value).filter(([field, text]) => `${field} ${text}`.toLowerCase().includes(wanted));
        return fields.length > 0 && h('div', {}, title !== '' && h('h4', {}, title), h('dl', { class: 'fields' }, ...fields.map(([field, text]) => h('div', {}, h('dt', {}, field), h('dd', {}, text)))));
      };
      const flags = run.command === null ? null : ((run.command as { flags?: Json }).flags ?? run.command);
      const body = [table(flags === null ? '' : 'What it computes', run.config), flags !== null && table('Flags it was started with', flags)];
      return name === '' ? h('div', {}, ...body) : h('details', { class: 'stage-config', open: shown.length === 1 || wanted !== '' }, h('summary', {}, name), ...body);
    });
    fill(place, ...(blocks.length > 0 ? blocks : [h('p', { class: 'hint' }, 'This stage has none.')]));
  }

  search.addEventListener('input', draw);
  view.onChange((changed) => changed.has('stage') && draw());
  draw();
  return h('section', { id: 'config', 'aria-labelledby': 'config-title' }, h('div', { class: 'section-head' }, h('h2', { id: 'config-title' }, 'Configuration'), h('div', { class: 'controls' }, search)), place);
}

/** `arguments.learningRate` and its value. */
function flatten(value: Json, path = ''): [string, string][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    return [[path, text.length > 500 ? `${text.slice(0, 500)} …` : text]];
  }
  return Object.entries(value).flatMap(([name, inner]) => (inner === undefined ? [] : flatten(inner, path === '' ? name : `${path}.${name}`)));
}
