import type { Json } from '../src/page-data';
import { fill, h } from './dom';
import { formatNumber, plural } from './format';
import type { Sample } from './sample-store';
import { colouringsOf, completionView, marked, type Colouring } from './token-view';

const titles: Readonly<Record<Colouring, string>> = { none: 'plain', logp: 'log-prob', advantage: 'advantage' };

/** One sample in full. */
export class SampleDetail {
  readonly element = h('div', { class: 'sample-detail', 'aria-live': 'polite' });
  private colouring: Colouring = 'logp';
  private shown: { sample: Sample; search: string } | null = null;

  constructor(private readonly largestAdvantage: number) {}

  show(sample: Sample | null, search: string): void {
    this.shown = sample && { sample, search };
    this.draw();
  }

  private draw(): void {
    if (!this.shown) return fill(this.element, h('p', { class: 'hint' }, 'No sample matches.'));
    const { sample, search } = this.shown;
    const possible = colouringsOf(sample);
    const colouring = possible.includes(this.colouring) ? this.colouring : 'none';
    const facts = [sample.step !== null && `step ${sample.step}`, sample.tokens !== null && plural(sample.tokens, 'token'), sample.finish !== null && (sample.finish === 'length' ? 'cut off at the length' : `ended by ${sample.finish}`)].filter(Boolean).join(' · ');
    fill(
      this.element,
      h('div', { class: 'detail-head' }, h('span', {}, sample.stageName !== '' && h('b', {}, `${sample.stageName} `), facts), this.rewards(sample)),
      h('h3', {}, 'Prompt'),
      ...promptView(sample.prompt, search),
      h('div', { class: 'section-head' }, h('h3', {}, 'Completion'), possible.length > 1 && this.choice(possible, colouring)),
      completionView(sample, colouring, search, this.largestAdvantage),
      colouring !== 'none' && legend(colouring, this.largestAdvantage),
      ...details(sample.more),
    );
  }

  private rewards(sample: Sample): HTMLElement {
    const parts = Object.entries((sample.more['rewards'] ?? {}) as Record<string, number | null>);
    const chip = (name: string, value: number | null) => h('span', { class: 'chip' }, name, h('b', {}, value === null ? 'does not apply' : formatNumber(value)));
    return h('span', { class: 'chips' }, sample.reward !== null && chip('reward', sample.reward), ...(parts.length > 1 || sample.reward === null ? parts : []).map(([name, value]) => chip(name, value)), sample.advantage !== null && chip('advantage', sample.advantage));
  }

  private choice(possible: readonly Colouring[], now: Colouring): HTMLElement {
    const group = h('div', { class: 'segmented', role: 'group', 'aria-label': 'Colour of the tokens' });
    for (const colouring of possible) {
      const choose = () => {
        this.colouring = colouring;
        this.draw();
        this.element.querySelector<HTMLElement>(`[data-colouring="${colouring}"]`)?.focus();
      };
      group.append(h('button', { type: 'button', 'data-colouring': colouring, 'aria-pressed': String(colouring === now), onclick: choose }, titles[colouring]));
    }
    return group;
  }
}

function promptView(prompt: Json, search: string): HTMLElement[] {
  if (!Array.isArray(prompt)) return [h('div', { class: 'text' }, ...marked(typeof prompt === 'string' ? prompt : JSON.stringify(prompt), search))];
  return (prompt as { role: string; content: string }[]).map(({ role, content }) => h('div', { class: 'text message' }, role !== '' && h('span', { class: 'role' }, role), ...marked(content, search)));
}

function legend(colouring: Colouring, largest: number): HTMLElement {
  const ends = colouring === 'logp' ? ['certain', 'surprising (5 nats and more)'] : [`−${formatNumber(largest)}`, `+${formatNumber(largest)}`];
  return h('div', { class: 'legend' }, ends[0], h('i', { class: `ramp ${colouring}` }), ends[1]);
}

/** Components of the rewards, and whatever else a record has. */
function details(more: Sample['more']): HTMLElement[] {
  const rest = Object.entries(more).filter(([name, value]) => name !== 'rewards' && value !== undefined && value !== null);
  const components = rest.flatMap(([name, value]) => (name === 'components' ? Object.entries(value as Record<string, Record<string, Json>>).flatMap(([reward, parts]) => Object.entries(parts ?? {}).map(([part, score]) => [`${reward} · ${part}`, score] as const)) : [[name, value as Json] as const]));
  if (components.length === 0) return [];
  return [h('h3', {}, 'Components'), h('dl', { class: 'fields' }, ...components.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, typeof value === 'number' ? formatNumber(value) : typeof value === 'string' ? value : JSON.stringify(value)))))];
}
