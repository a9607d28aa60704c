import { h } from './dom';
import { formatNumber } from './format';
import type { Sample } from './sample-store';

export type Colouring = 'none' | 'logp' | 'advantage';

/** Surprise, in nats, that has the full colour. */
const fullSurprise = 5;

/** The colourings that a sample's record has the numbers for. */
export function colouringsOf(sample: Sample): Colouring[] {
  const list: Colouring[] = ['none'];
  if (sample.logps && sample.tokenLengths) list.push('logp');
  if (sample.advantage !== null || (sample.tokenAdvantages && sample.tokenLengths)) list.push('advantage');
  return list;
}

/** A completion, its tokens coloured; matches of a search are marked where it is not. `largest`: the absolute advantage that has the full colour. */
export function completionView(sample: Sample, colouring: Colouring, search: string, largest: number): HTMLElement {
  const { completion, tokenLengths } = sample;
  const place = h('div', { class: 'text', id: 'completion' });
  if (completion === '') place.append(h('span', { class: 'empty' }, '(empty)'));
  else if (colouring === 'none') place.append(...marked(completion, search));
  else if (!tokenLengths) place.append(token(completion, sample, -1, colouring, largest));
  else {
    const end = (element: HTMLElement) => {
      element.classList.add('end'); // the token that ended it has no text
      place.append(element);
    };
    let at = 0;
    for (let i = 0; i < tokenLengths.length; i++) {
      const text = completion.slice(at, at + tokenLengths[i]);
      at += tokenLengths[i];
      if (text !== '') place.append(token(text, sample, i, colouring, largest));
      else if (i === tokenLengths.length - 1 && sample.finish === 'stop') end(token('', sample, i, colouring, largest));
    }
    if (at < completion.length) place.append(completion.slice(at));
  }
  return place;
}

function token(text: string, sample: Sample, index: number, colouring: Colouring, largest: number): HTMLElement {
  const logp = sample.logps?.[index];
  const advantage = sample.tokenAdvantages?.[index] ?? sample.advantage;
  const said = [logp !== undefined && `log-prob ${formatNumber(logp)} (p ${formatNumber(Math.exp(logp))})`, advantage !== null && `advantage ${formatNumber(advantage)}`].filter(Boolean).join(', ');
  const element = h('span', { class: 'token', title: said }, text);
  const strength = colouring === 'logp' ? Math.min(1, -(logp ?? 0) / fullSurprise) : Math.min(1, Math.abs(advantage ?? 0) / (largest || 1));
  const ink = colouring === 'logp' ? '--surprise' : (advantage ?? 0) < 0 ? '--minus' : '--plus';
  element.style.backgroundColor = `color-mix(in srgb, var(${ink}) ${Math.round(70 * strength)}%, transparent)`;
  return element;
}

/** Text with the places where a search matches marked. */
export function marked(text: string, search: string): Node[] {
  const wanted = search.toLowerCase();
  if (wanted === '') return [document.createTextNode(text)];
  const lower = text.toLowerCase();
  const nodes: Node[] = [];
  let at = 0;
  for (let found = lower.indexOf(wanted); found >= 0 && nodes.length < 2000 && lower.length === text.length; found = lower.indexOf(wanted, at)) {
    nodes.push(document.createTextNode(text.slice(at, found)), h('mark', {}, text.slice(found, found + wanted.length)));
    at = found + wanted.length;
  }
  nodes.push(document.createTextNode(text.slice(at)));
  return nodes;
}
