import { encodeFloat32, encodeFloat64 } from './column-codec';
import type { CurvesData } from './page-data';
import { readJsonLines } from './read-lines';
import { minMaxIndices } from './thin';

/** Numbers that a page holds over all of its curves; beyond, each curve is thinned to its extremes. About 11 MB of page. */
const valueBudget = 2_000_000;

interface Column {
  steps: number[];
  values: number[];
}

/** Fields of a record that are no metrics. */
const positions = new Set(['step', 'epoch']);

/** `metrics.jsonl` in columns, in the order of the steps. A value of null is a gap. */
export async function readMetrics(path: string): Promise<{ curves: CurvesData; lastStep: number; problem: string | null }> {
  const columns = new Map<string, Column>();
  let lastStep = 0;
  let row = 0;
  const { records, problem } = await readJsonLines(path, 'metrics.jsonl', (record) => {
    row++;
    const step = typeof record['step'] === 'number' && Number.isFinite(record['step']) ? record['step'] : row;
    lastStep = Math.max(lastStep, step);
    for (const name of Object.keys(record)) {
      const value = record[name];
      if (positions.has(name) || (typeof value !== 'number' && value !== null)) continue;
      let column = columns.get(name);
      if (!column) columns.set(name, (column = { steps: [], values: [] }));
      column.steps.push(step);
      column.values.push(value ?? NaN);
    }
  });
  return { curves: inColumns(columns, records), lastStep, problem };
}

function inColumns(columns: ReadonlyMap<string, Column>, rows: number): CurvesData {
  const drawn = [...columns].filter(([, { values }]) => values.some(Number.isFinite));
  const total = drawn.reduce((sum, [, { values }]) => sum + values.length, 0);
  const buckets = total <= valueBudget ? Infinity : Math.max(2000, Math.floor(valueBudget / drawn.length / 2));
  const axes: string[] = [];
  const places = new Map<string, number>();
  const series = drawn.map(([name, column]) => {
    const { steps, values } = inOrder(column);
    const kept = minMaxIndices(values, 0, values.length, buckets);
    const whole = kept.length === values.length;
    const axis = encodeFloat64(whole ? steps : kept.map((i) => steps[i]));
    let place = places.get(axis);
    if (place === undefined) {
      places.set(axis, (place = axes.length));
      axes.push(axis);
    }
    return { name, axis: place, values: encodeFloat32(whole ? values : kept.map((i) => values[i])), total: values.length };
  });
  return { rows, axes, series };
}

/** By step; of records of one step the later ones stay behind. */
function inOrder(column: Column): Column {
  if (column.steps.every((step, i) => i === 0 || step >= column.steps[i - 1])) return column;
  const order = column.steps.map((_, i) => i).sort((a, b) => column.steps[a] - column.steps[b] || a - b);
  return { steps: order.map((i) => column.steps[i]), values: order.map((i) => column.values[i]) };
}
