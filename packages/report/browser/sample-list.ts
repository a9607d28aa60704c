import { h } from './dom';
import { formatNumber } from './format';
import { promptText, type Sample } from './sample-store';

const rowHeight = 62;
/** Rows above and below those in sight. */
const beyond = 6;

/** A list of which only the rows in sight are in the document. */
export class SampleList {
  readonly element: HTMLElement;
  private readonly inner = h('div', { class: 'rows', role: 'presentation' });
  private rows: readonly Sample[] = [];
  private chosen = -1;
  private range = { least: 0, greatest: 1 };
  private frame = 0;

  constructor(private readonly onChoose: (sample: Sample | null) => void) {
    this.element = h('div', { class: 'sample-list', role: 'listbox', tabindex: 0, 'aria-label': 'Samples', onscroll: () => (this.frame ||= requestAnimationFrame(() => this.draw())) }, this.inner);
    this.element.addEventListener('keydown', (event) => this.onKey(event));
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  /** Other rows; the first one is chosen. */
  show(rows: readonly Sample[], range: { least: number; greatest: number }): void {
    this.rows = rows;
    this.range = range;
    this.element.scrollTop = 0;
    this.inner.style.height = `${rows.length * rowHeight}px`;
    this.choose(rows.length > 0 ? 0 : -1);
  }

  private choose(index: number): void {
    this.chosen = index;
    if (index >= 0) {
      const top = index * rowHeight;
      if (top < this.element.scrollTop) this.element.scrollTop = top;
      else if (top + rowHeight > this.element.scrollTop + this.element.clientHeight) this.element.scrollTop = top + rowHeight - this.element.clientHeight;
      this.element.setAttribute('aria-activedescendant', `sample-${index}`);
    } else this.element.removeAttribute('aria-activedescendant');
    this.draw();
    this.onChoose(this.rows[index] ?? null);
  }

  private draw(): void {
    this.frame = 0;
    const from = Math.max(0, Math.floor(this.element.scrollTop / rowHeight) - beyond);
    const to = Math.min(this.rows.length, Math.ceil((this.element.scrollTop + this.element.clientHeight) / rowHeight) + beyond);
    this.inner.replaceChildren(...this.rows.slice(from, to).map((sample, i) => this.row(sample, from + i)));
  }

  private row(sample: Sample, index: number): HTMLElement {
    const bar = h('i', { class: 'reward-bar' });
    const { least, greatest } = this.range;
    if (sample.reward !== null) bar.style.width = `${(100 * (sample.reward - least)) / (greatest - least || 1)}%`;
    const row = h(
      'div',
      { class: 'sample-row', role: 'option', id: `sample-${index}`, 'aria-selected': String(index === this.chosen), 'aria-posinset': index + 1, 'aria-setsize': this.rows.length, onclick: () => this.choose(index) },
      h('div', { class: 'row-head' }, h('span', {}, sample.step === null ? sample.stageName || 'sample' : `${sample.stageName === '' ? '' : `${sample.stageName} · `}step ${sample.step}`), h('span', { class: 'row-reward' }, h('span', { class: 'reward-track' }, bar), h('b', {}, formatNumber(sample.reward)))),
      h('div', { class: 'row-text' }, sample.completion.slice(0, 160).trim() || '(empty)'),
      h('div', { class: 'row-prompt' }, promptText(sample.prompt).slice(-160).trim()),
    );
    row.style.top = `${index * rowHeight}px`;
    return row;
  }

  private onKey(event: KeyboardEvent): void {
    const page = Math.max(1, Math.floor(this.element.clientHeight / rowHeight) - 1);
    const moves: Readonly<Record<string, number>> = { ArrowDown: this.chosen + 1, ArrowUp: this.chosen - 1, PageDown: this.chosen + page, PageUp: this.chosen - page, Home: 0, End: this.rows.length - 1 };
    if (!(event.key in moves) || this.rows.length === 0) return;
    event.preventDefault();
    this.choose(Math.min(this.rows.length - 1, Math.max(0, moves[event.key])));
  }
}
