import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { jsdLoss, type JSDLossInputs, type JSDLossOptions, type LogitRows, type NestedLogits } from './loss';

const read = (name: string) => JSON.parse(readFileSync(new URL(`../fixtures/${name}`, import.meta.url), 'utf8')) as unknown;
const near = (value: number, expected: number, tolerance: number, what = 'loss') =>
  expect(Math.abs(value - expected), `${what}: ${value} for ${expected}`).toBeLessThanOrEqual(tolerance * Math.max(1, Math.abs(expected)));
const flat = (nested: unknown): number[] => (Array.isArray(nested) ? nested.flatMap(flat) : [nested as number]);
const logs = (rows: number[][]) => rows.map((row) => row.map(Math.log));

describe('TRL 1.16.0', () => {
  const golden = read('losses-trl-1.16.0.json') as Record<string, number>;
  const inputs = { studentLogits: [logs([[0.1, 0.9], [0.3, 0.7]])], teacherLogits: [logs([[0.9, 0.1], [0.6, 0.4]])], labels: [[1, 1]] };

  it.each([0, 0.25, 0.5, 1])('its golden number for beta %d', (beta) => near(jsdLoss(inputs, { beta }).loss, golden[`gkd jsd beta ${beta}`], 1e-6));

  it('its golden number at a temperature, with a token masked', () => {
    near(jsdLoss({ ...inputs, labels: [[1, -100]] }, { beta: 0.5, temperature: 2 }).loss, golden['gkd jsd beta .5 T=2, second token masked'], 1e-6);
  });

  interface Case {
    options: { beta: number; temperature?: number; reduction?: JSDLossOptions['reduction']; num_items_in_batch?: number };
    inputs: { student_logits: NestedLogits; teacher_logits: NestedLogits; labels?: number[] | number[][] };
    loss: number | number[][];
    grads: { student_logits: NestedLogits; teacher_logits: NestedLogits };
  }
  const cases = read('losses-trl-more.json') as Case[];

  it.each(cases.map((c, i) => [i, JSON.stringify(c.options), c] as const))('loss and gradients on random logits %i: %s', (_i, _name, c) => {
    const { num_items_in_batch: numItemsInBatch, ...options } = c.options;
    const given: JSDLossInputs = { studentLogits: c.inputs.student_logits, teacherLogits: c.inputs.teacher_logits, labels: c.inputs.labels };
    const { loss, grads } = jsdLoss(given, { ...options, numItemsInBatch } as never);
    const compare = (found: unknown, expected: unknown, what: string) => {
      const [a, b] = [flat(found), flat(expected)];
      expect(a.length).toBe(b.length);
      a.forEach((value, i) => near(value, b[i], 1e-9, `${what} ${i}`));
    };
    compare(loss, c.loss, 'loss');
    compare(grads.studentLogits, c.grads.student_logits, 'student');
    compare(grads.teacherLogits, c.grads.teacher_logits, 'teacher');
  });
});

describe('jsdLoss', () => {
  const student = [[0.3, -1.2, 2, 0.1], [1, 1.5, -0.4, 0], [0, 2, 0.7, -3]];
  const teacher = [[1.1, 0.2, -0.6, 0.4], [-1, 0.5, 0.9, 2], [0.3, 0.1, 2.2, 1]];

  it.each([0, 0.1, 0.5, 0.85, 1])('finite differences agree, beta %d', (beta) => {
    const options = { beta, temperature: 1.3 };
    const labels = [1, -100, 2];
    const { grads } = jsdLoss({ studentLogits: student, teacherLogits: teacher, labels }, options);
    const h = 1e-5;
    for (const side of ['studentLogits', 'teacherLogits'] as const) {
      const rows = side === 'studentLogits' ? student : teacher;
      rows.forEach((row, t) =>
        row.forEach((_, v) => {
          const at = (shift: number) => {
            const moved = rows.map((r, i) => (i === t ? r.map((x, j) => (j === v ? x + shift : x)) : r));
            return jsdLoss({ studentLogits: student, teacherLogits: teacher, labels, [side]: moved }, options).loss;
          };
          near((grads[side] as number[][])[t][v], (at(h) - at(-h)) / (2 * h), 1e-8, `${side}[${t}][${v}]`);
        }),
      );
    }
  });

  it('is 0 between equals, and the two KLs at its ends', () => {
    for (const beta of [0, 0.4, 1]) expect(jsdLoss({ studentLogits: student, teacherLogits: student }, { beta }).loss).toBeCloseTo(0, 14);
    const kl = (a: number[], b: number[]) => a.reduce((sum, x, i) => sum + x * Math.log(x / b[i]), 0);
    const [p, q] = [[0.1, 0.9], [0.9, 0.1]];
    const at = (beta: number) => jsdLoss({ studentLogits: logs([p]), teacherLogits: logs([q]) }, { beta }).loss;
    expect(at(0)).toBeCloseTo(kl(q, p), 12);
    expect(at(1)).toBeCloseTo(kl(p, q), 12);
  });

  it('is symmetric at 0.5 and nowhere else', () => {
    const both = (beta: number) => [[student, teacher], [teacher, student]].map(([a, b]) => jsdLoss({ studentLogits: a, teacherLogits: b }, { beta }).loss);
    expect(both(0.5)[0]).toBeCloseTo(both(0.5)[1], 12);
    expect(Math.abs(both(0.1)[0] - both(0.1)[1])).toBeGreaterThan(1e-3);
  });

  it('takes a mask for labels', () => {
    const masked = jsdLoss({ studentLogits: student, teacherLogits: teacher, mask: [1, 0, 1] }, { beta: 0.3 });
    expect(masked).toEqual(jsdLoss({ studentLogits: student, teacherLogits: teacher, labels: [5, -100, 0] }, { beta: 0.3 }));
    expect(() => jsdLoss({ studentLogits: student, teacherLogits: teacher, mask: [1, 0, 1], labels: [5, -100, 0] })).toThrow(/both `labels` and `mask`/);
  });

  it('adds up over parts of a step', () => {
    const part = (from: number, to: number) => jsdLoss({ studentLogits: student.slice(from, to), teacherLogits: teacher.slice(from, to) }, { beta: 0.3, numItemsInBatch: 3 }).loss;
    expect(part(0, 1) + part(1, 3)).toBeCloseTo(jsdLoss({ studentLogits: student, teacherLogits: teacher }, { beta: 0.3 }).loss, 12);
  });

  it('stays finite where a token is ruled out', () => {
    const ruledOut: LogitRows = [[0, 1, -1e9]];
    for (const beta of [0, 0.5, 1]) {
      const { loss, grads } = jsdLoss({ studentLogits: ruledOut, teacherLogits: ruledOut }, { beta });
      expect([loss, ...flat(grads.studentLogits), ...flat(grads.teacherLogits)].every((x) => Math.abs(x) < 1e-12)).toBe(true);
    }
  });

  it('refuses what does not fit, saying where', () => {
    const one = { studentLogits: [[0, 1]], teacherLogits: [[1, 0]] };
    expect(() => jsdLoss(one, { beta: 1.2 })).toThrow(/`beta` is 1.2/);
    expect(() => jsdLoss(one, { temperature: 0 })).toThrow(/`temperature` 0/);
    expect(() => jsdLoss(one, { reduction: 'median' as never })).toThrow(/`reduction` "median" is unknown \(one of batchmean/);
    expect(() => jsdLoss({ ...one, teacherLogits: [[1, 0, 2]] })).toThrow(/`teacherLogits`\[0\] has 3 logits, 2 expected/);
    expect(() => jsdLoss({ ...one, studentLogits: [[0, NaN]] })).toThrow(/`studentLogits`\[0\]\[1\] is NaN/);
    expect(() => jsdLoss({ ...one, teacherLogits: [[1, 0], [0, 1]] })).toThrow(/`teacherLogits` has 2 positions/);
    expect(() => jsdLoss({ ...one, labels: [1, 2] })).toThrow(/`labels` has 2 entries for the 1 positions/);
  });
});
