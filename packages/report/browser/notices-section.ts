import type { PageData } from '../src/page-data';
import { fill, h } from './dom';
import { plural } from './format';
import type { NumberedNotice } from './markers';
import type { ViewStore } from './view';

/** What the monitors said, numbered as on the curves; and what of the run's files could not be read. */
export function noticesSection(data: PageData, notices: readonly NumberedNotice[], view: ViewStore): HTMLElement | null {
  const problems = data.stages.flatMap(({ folder, run }) => run.problems.map((problem) => (folder === '' ? problem : `${folder}/${problem}`)));
  const failures = data.stages.flatMap(({ name, status, run }) => (run.message !== null && status !== 'done' ? [`${name === '' ? '' : `${name}: `}${run.message}`] : []));
  if (notices.length + problems.length + failures.length === 0) return null;
  const list = h('ol', { class: 'notices' });
  const draw = () =>
    fill(
      list,
      ...notices
        .filter(({ stage }) => view.now.stage === null || view.now.stage === stage)
        .map(({ number, level, name, message, step, stage }) => h('li', { class: level }, h('span', { class: 'flag', 'aria-label': `${level} ${number}` }, String(number)), h('div', {}, h('div', { class: 'notice-head' }, h('b', {}, name.replaceAll('_', ' ')), h('span', {}, `step ${step}`), data.stages.length > 1 && h('span', {}, data.stages[stage].name)), h('p', {}, ...withCode(message))))),
    );
  draw();
  view.onChange((changed) => changed.has('stage') && draw());
  const counted = (['alarm', 'warning', 'note'] as const).map((level) => ({ level, count: notices.filter((notice) => notice.level === level).length })).filter(({ count }) => count > 0).map(({ level, count }) => plural(count, level)).join(', ');
  return h('section', { id: 'notices', 'aria-labelledby': 'notices-title' }, h('div', { class: 'section-head' }, h('h2', { id: 'notices-title' }, 'Notices'), h('span', { class: 'count' }, counted)), ...failures.map((text) => h('p', { class: 'failure' }, text)), list, problems.length > 0 && h('div', { class: 'problems' }, h('b', {}, 'Not all files could be read'), h('ul', {}, ...problems.map((text) => h('li', {}, text)))));
}

/** Text with what stands in backticks set as code. */
function withCode(text: string): (string | HTMLElement)[] {
  return text.split('`').map((part, i) => (i % 2 === 1 ? h('code', {}, part) : part));
}
