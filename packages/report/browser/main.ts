import 'uplot/dist/uPlot.min.css';
import './style.css';
import type { PageData, RunStatus } from '../src/page-data';
import { configSection } from './config-section';
import { curvesOf } from './curves';
import { curvesSection } from './curves-section';
import { h, svg } from './dom';
import { formatTime } from './format';
import { insightSection } from './insight-section';
import { numberedNotices } from './markers';
import { noticesSection } from './notices-section';
import { overview } from './overview';
import { samplesSection } from './samples-section';
import { stagePicker, stageTable } from './stage-table';
import { themeButton } from './theme';
import { ViewStore } from './view';

/** A tree on its frame. */
const logo = () =>
  svg('svg', { class: 'logo', viewBox: '0 0 24 24', 'aria-hidden': 'true' }, svg('path', { class: 'frame', d: 'M3 5h18M3 11h18M3 17h18' }), svg('path', { class: 'tree', d: 'M12 22V4M12 17C7 17 5.5 14 5.5 9M12 17c5 0 6.5-3 6.5-8M12 11c-2.5 0-3.2-1.7-3.2-5M12 11c2.5 0 3.2-1.7 3.2-5' }));

function statusOf(data: PageData): RunStatus {
  const statuses = data.stages.map(({ status }) => status);
  return (['failed', 'stopped', 'running'] as const).find((status) => statuses.includes(status)) ?? statuses.at(-1) ?? 'unknown';
}

function page(data: PageData): void {
  const view = new ViewStore({ stage: null, smoothing: 0, log: false, filter: '', zoom: null });
  const theme = themeButton(view);
  const curves = data.stages.map(curvesOf);
  const notices = numberedNotices(data.stages);
  const sections = [stageTable(data, view), noticesSection(data, notices, view), curvesSection(data, curves, notices, view), samplesSection(data, view), insightSection(data), configSection(data, view)].filter((section) => section !== null);
  const links = sections.map((section) => h('a', { href: `#${section.id}` }, section.querySelector('h2')!.textContent));
  const status = statusOf(data);
  document.getElementById('app')!.append(
    h('a', { class: 'skip', href: '#main' }, 'To the content'),
    h('header', { class: 'top' }, h('div', { class: 'inner' }, logo(), h('h1', {}, data.title), h('span', { class: `status ${status}` }, status), h('nav', { 'aria-label': 'Sections' }, ...links), h('div', { class: 'controls' }, stagePicker(data, view), theme))),
    h('main', { id: 'main' }, overview(data, curves, view), ...sections),
    h('footer', {}, `Made ${formatTime(Date.parse(data.made))} by Espalier from the files of the run. Nothing here is loaded from anywhere.`),
  );
}

page(JSON.parse(document.getElementById('data')!.textContent) as PageData);
