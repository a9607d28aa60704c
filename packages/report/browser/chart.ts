import uPlot from 'uplot';
import { closest, lastValue, type Curve } from './curves';
import { h, fill } from './dom';
import { formatNumber, formatTick } from './format';
import { description, type Line } from './line';
import { drawMarks, type Mark } from './markers';
import { extent, hasPositive, plotData } from './plot-data';
import { colour } from './theme';
import type { ViewStore } from './view';

export interface ChartOptions {
  metric: string;
  lines: readonly Line[];
  marks: readonly Mark[];
  view: ViewStore;
}

const height = { small: 176, large: 380 };
const cursors = uPlot.sync('steps');

/** One metric's card: its name, its value, its plot. The plot is made when the card first comes into sight. */
export class Chart {
  readonly element: HTMLElement;
  readonly metric: string;
  private readonly plot = h('div', { class: 'plot', tabindex: 0, role: 'img' });
  private readonly readout = h('div', { class: 'readout' });
  private u: uPlot | null = null;
  private large = false;
  private inSight = false;
  /** What is drawn is not what should be. */
  private stale = true;
  private drawnSmooth = false;

  constructor(private readonly options: ChartOptions) {
    const { metric, lines } = options;
    this.metric = metric;
    const expand = h('button', { type: 'button', class: 'icon', 'aria-label': `Enlarge ${metric}`, 'aria-pressed': 'false', title: 'Enlarge', onclick: () => this.enlarge(expand) }, '⤢');
    this.element = h('figure', { class: 'chart', 'data-metric': metric }, h('figcaption', {}, h('span', { class: 'metric', title: metric }, metric), this.readout, expand), this.plot);
    this.plot.setAttribute('aria-label', description(metric, lines));
    this.plot.addEventListener('keydown', (event) => this.onKey(event));
    this.plot.addEventListener('blur', () => this.u?.setCursor({ left: -10, top: -10 }));
    this.readout.classList.toggle('several', lines.length > 1);
    this.readout.classList.toggle('many', lines.length > 2); // room for a second line, so that nothing moves
    this.show(null);
  }

  /** Draws anew what has changed; a card out of sight when it comes into it. */
  draw(): void {
    this.stale = true;
    if (!this.inSight) return;
    this.stale = false;
    this.u?.destroy();
    this.u = this.makePlot();
    this.drawnSmooth = this.options.view.now.smoothing > 0;
    this.show(null);
  }

  /** The card came into sight or left it; one that is to be printed counts as in sight. */
  reveal(inSight: boolean): void {
    this.inSight = inSight;
    if (inSight && this.stale) this.draw();
  }

  /** Another window or another smoothing: the same plot with other points. */
  refresh(): void {
    if (!this.u || !this.inSight || this.stale || this.drawnSmooth !== this.options.view.now.smoothing > 0) return this.draw();
    const range = this.range();
    this.u.batch(() => {
      this.u!.setData(this.data(range), false);
      this.u!.setScale('x', { min: range[0], max: range[1] });
    });
    this.show(null);
  }

  resize(): void {
    if (this.u && this.plot.clientWidth > 0 && this.plot.clientWidth !== this.u.width) this.draw();
  }

  destroy(): void {
    this.u?.destroy();
    this.u = null;
  }

  private get log(): boolean {
    return this.options.view.now.log && hasPositive(this.curves);
  }

  private get curves(): Curve[] {
    return this.options.lines.map(({ curve }) => curve);
  }

  private range(): readonly [number, number] {
    return this.options.view.now.zoom ?? extent(this.curves);
  }

  private data(range: readonly [number, number]): uPlot.AlignedData {
    return plotData(this.curves, { range, width: Math.max(50, this.plot.clientWidth - 60), smoothing: this.options.view.now.smoothing, log: this.log });
  }

  private makePlot(): uPlot {
    const { lines, marks, view } = this.options;
    const { smoothing } = view.now;
    const range = this.range();
    const data = this.data(range);
    const series: uPlot.Series[] = lines.flatMap((line): uPlot.Series[] => {
      const dash = line.dashed ? { dash: [5, 3] } : {};
      const { few } = line.curve;
      const points = { show: few, size: 5, width: 0, fill: line.colour() };
      const strong: uPlot.Series = { label: line.label, stroke: line.colour(), width: 1.8, points: few ? points : { show: false }, ...dash };
      const faint: uPlot.Series = { label: line.label, stroke: `color-mix(in srgb, ${line.colour()} 28%, transparent)`, width: 1, points: { show: false } };
      return smoothing > 0 && !few ? [faint, strong] : [strong];
    });
    const axis: uPlot.Axis = { stroke: colour('muted'), font: '11px system-ui, sans-serif', grid: { stroke: colour('grid'), width: 1 }, ticks: { show: false } };
    return new uPlot(
      {
        width: Math.max(120, this.plot.clientWidth),
        height: this.large ? height.large : height.small,
        padding: [10, 16, 0, 0],
        legend: { show: false },
        scales: { x: { time: false, auto: false, min: range[0], max: range[1] }, y: this.log ? { distr: 3 } : {} },
        axes: [
          { ...axis, size: 24, gap: 4, values: (_, splits) => splits.map(formatTick) },
          { ...axis, size: 52, gap: 4, values: (_, splits) => splits.map((value) => (value === null ? '' : formatTick(value))) },
        ],
        series: [{}, ...series],
        cursor: { sync: { key: cursors.key, scales: ['x', null] }, drag: { x: true, y: false, setScale: false }, points: { show: false }, y: false, bind: { dblclick: () => () => (view.set({ zoom: null }), null) } },
        hooks: {
          setCursor: [(u) => this.show(u.cursor.left !== undefined && u.cursor.left >= 0 ? u.posToVal(u.cursor.left, 'x') : null)],
          setSelect: [(u) => this.zoomTo(u)],
          draw: [(u) => drawMarks(u, marks)],
        },
      },
      data,
      this.plot,
    );
  }

  private zoomTo(u: uPlot): void {
    const { left, width } = u.select;
    if (width < 4) return;
    const zoom: [number, number] = [u.posToVal(left, 'x'), u.posToVal(left + width, 'x')];
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.options.view.set({ zoom });
  }

  /** The values at a step; without one the last ones. */
  private show(step: number | null): void {
    const { lines, view } = this.options;
    const { smoothing } = view.now;
    const shown = lines.flatMap((line) => {
      const { steps, values } = line.curve;
      const at = step === null ? -1 : closest(steps, step);
      const value = at < 0 ? lastValue(values) : values[at];
      const even = smoothing > 0 && at >= 0 && !line.curve.few ? formatNumber(line.curve.smoothed(smoothing)[at]) : null;
      const text = even === null ? formatNumber(value) : lines.length > 1 ? even : `${formatNumber(value)} ~ ${even}`;
      const swatch = h('i', { class: line.dashed ? 'swatch dashed' : 'swatch' });
      swatch.style.setProperty('--ink', line.colour());
      return [h('span', { class: 'value', title: line.label }, lines.length > 1 && swatch, lines.length > 1 && lines.length < 4 && h('span', { class: 'of' }, line.label), h('b', {}, text), at >= 0 && lines.length === 1 && h('span', { class: 'at' }, ` at ${formatNumber(steps[at])}`))];
    });
    const at = step !== null && lines.length > 1 ? h('span', { class: 'at' }, `at ${formatNumber(lines[0].curve.steps[closest(lines[0].curve.steps, step)])}`) : null;
    fill(this.readout, at, ...shown);
  }

  private enlarge(button: HTMLElement): void {
    this.large = !this.large;
    this.element.classList.toggle('large', this.large);
    button.setAttribute('aria-pressed', String(this.large));
    this.draw();
  }

  /** Left and right move through the points, Home and End to the ends, Escape shows all. */
  private onKey(event: KeyboardEvent): void {
    const { u } = this;
    if (!u) return;
    if (event.key === 'Escape') return this.options.view.set({ zoom: null });
    const moves: Readonly<Record<string, (i: number, last: number) => number>> = { ArrowLeft: (i) => i - 1, ArrowRight: (i) => i + 1, PageUp: (i) => i - 10, PageDown: (i) => i + 10, Home: () => 0, End: (_, last) => last };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const [xs] = u.data;
    const [from, to] = this.range();
    const inside = Array.from(xs).filter((x) => x >= from && x <= to);
    if (inside.length === 0) return;
    const now = u.cursor.left !== undefined && u.cursor.left >= 0 ? closest(inside, u.posToVal(u.cursor.left, 'x')) : event.key === 'ArrowLeft' ? inside.length : -1;
    const next = Math.min(inside.length - 1, Math.max(0, move(now, inside.length - 1)));
    this.readout.setAttribute('aria-live', 'polite');
    u.setCursor({ left: u.valToPos(inside[next], 'x'), top: 10 });
  }
}
