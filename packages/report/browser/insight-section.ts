import type { InsightSample, Json, PageData } from '../src/page-data';
import { h } from './dom';
import { formatNumber, plural } from './format';

/** A change of the log-prob, in nats, that has the full colour. */
const fullChange = 3;

/** What two checkpoints say of the same texts: each token coloured by how much likelier, or less likely, training made it. */
export function insightSection(data: PageData): HTMLElement | null {
  const found = data.stages.flatMap(({ run }) => (run.insight ? [run.insight] : []));
  if (found.length === 0) return null;
  const count = found.reduce((sum, { samples }) => sum + samples.length, 0);
  return h(
    'section',
    { id: 'insight', 'aria-labelledby': 'insight-title' },
    h('div', { class: 'section-head' }, h('h2', { id: 'insight-title' }, 'Insight'), h('span', { class: 'count' }, plural(count, 'text'))),
    ...found.flatMap(({ before, after, samples }) => [h('p', { class: 'insight-models' }, 'From ', h('code', {}, before), ' to ', h('code', {}, after), ': likelier and less likely tokens.'), ...samples.map(sampleView)]),
  );
}

function sampleView(sample: InsightSample): HTMLElement {
  const change = sample.after.reduce((sum, logp, i) => sum + logp - sample.before[i], 0);
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / Math.max(values.length, 1);
  const facts = [
    `log-prob ${signed(change)} nats in all`,
    `entropy ${formatNumber(mean(sample.entropyBefore))} → ${formatNumber(mean(sample.entropyAfter))}`,
    sample.reward !== null && `reward ${formatNumber(sample.reward)}`,
    sample.advantage !== null && `advantage ${signed(sample.advantage)}`,
    ...Object.entries(sample.components).map(([name, value]) => `${name} ${formatNumber(value)}`),
  ].filter((fact): fact is string => typeof fact === 'string');
  return h('article', { class: 'insight-sample' }, h('div', { class: 'text insight-prompt' }, promptOf(sample.prompt)), h('div', { class: 'text insight-completion' }, ...sample.tokens.map((_, i) => token(sample, i))), h('p', { class: 'insight-facts' }, facts.join(' · ')));
}

function token(sample: InsightSample, i: number): HTMLElement {
  const change = sample.after[i] - sample.before[i];
  const title = `p ${formatNumber(Math.exp(sample.before[i]))} → ${formatNumber(Math.exp(sample.after[i]))}, log-prob ${formatNumber(sample.before[i])} → ${formatNumber(sample.after[i])} (${signed(change)}), entropy ${formatNumber(sample.entropyBefore[i])} → ${formatNumber(sample.entropyAfter[i])}`;
  const element = h('span', { class: sample.tokens[i] === '' ? 'token end' : 'token', title }, sample.tokens[i]);
  element.style.backgroundColor = `color-mix(in srgb, var(${change < 0 ? '--minus' : '--plus'}) ${Math.round(70 * Math.min(1, Math.abs(change) / fullChange))}%, transparent)`;
  return element;
}

const signed = (value: number): string => `${value > 0 ? '+' : ''}${formatNumber(value)}`;

function promptOf(prompt: Json): string {
  if (typeof prompt === 'string') return prompt;
  if (Array.isArray(prompt)) return prompt.map((message) => (typeof message === 'object' && message !== null && 'content' in message ? String(message['content']) : JSON.stringify(message))).join('\n');
  return prompt === null ? '' : JSON.stringify(prompt);
}
