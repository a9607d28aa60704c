import { beforeAll, describe, expect, it } from 'vitest';
import { memory, record, selectBackend, slice, tensor, tensor2d, tokenDivergence, variable } from '../index';
import { testBackends, testNumbers } from '../testing';

describe.each(await testBackends('cpu', 'native'))('tokenDivergence on %s', (backend) => {
  beforeAll(async () => void (await selectBackend(backend)));

  it('is the same however many rows are computed at once', () => {
    // The portable kernel takes two rows of this vocabulary at a time.
    const [rows, vocabSize, d, e] = [3, 350_000, 1, 2];
    const make = (shape: [number, number], seed: number) => tensor(Float32Array.from(testNumbers(shape[0] * shape[1], seed)), shape);
    const before = memory().numTensors;
    const [hidden, weight, teacherHidden, teacherWeight] = [make([rows, d], 1), make([vocabSize, d], 2), make([rows, e], 3), make([vocabSize, e], 4)];
    const run = (start: number, n: number) => {
      const [h, w] = [variable(slice(hidden, [start, 0], [n, -1])), variable(weight)];
      const t = slice(teacherHidden, [start, 0], [n, -1]);
      const tape = record(() => [tokenDivergence(h, w, t, teacherWeight, { beta: 1 })]);
      const divergence = [...tape.outputs[0].dataSync()];
      const gradients = new Map<number, Float32Array>();
      const ones = tensor(new Float32Array(n).fill(1), [n]);
      tape.backward([ones], (parameter, gradient) => {
        gradients.set(parameter.id, Float32Array.from(gradient.dataSync()));
        gradient.dispose();
      });
      const result = { divergence, dHidden: gradients.get(h.id)!, dWeight: gradients.get(w.id)! };
      for (const used of [h, w, t, ones]) used.dispose();
      return result;
    };
    const whole = run(0, rows);
    const parts = [run(0, 1), run(1, 2)];
    const close = (actual: ArrayLike<number>, expected: ArrayLike<number>) => {
      expect(actual.length).toBe(expected.length);
      let worst = 0;
      for (let i = 0; i < expected.length; i++) worst = Math.max(worst, Math.abs(actual[i] - expected[i]));
      expect(worst).toBeLessThan(1e-5);
    };
    close(whole.divergence, parts.flatMap(({ divergence }) => divergence));
    close(whole.dHidden, parts.flatMap(({ dHidden }) => [...dHidden]));
    close(whole.dWeight, whole.dWeight.map((_, i) => parts.reduce((sum, { dWeight }) => sum + dWeight[i], 0)));
    for (const used of [hidden, weight, teacherHidden, teacherWeight]) used.dispose();
    expect(memory().numTensors).toBeLessThanOrEqual(before + 8); // the slices that became variables
  });

  it('takes no rows, and refuses what does not fit', () => {
    const [hidden, weight] = [variable(tensor2d([], [0, 2])), variable(tensor2d([[1, 2], [3, 4], [5, 6]]))];
    const teacher = tensor2d([], [0, 2]);
    const tape = record(() => [tokenDivergence(hidden, weight, teacher, weight)]);
    expect(tape.outputs[0].shape).toEqual([0]);
    tape.dispose();
    const one = tensor2d([[1, 2]]);
    expect(() => tokenDivergence(one, weight, one, weight, { beta: 1.1 })).toThrow(/beta of the divergence is 1.1/);
    expect(() => tokenDivergence(one, weight, one, weight, { temperature: 0 })).toThrow(/temperature of the divergence is 0/);
    expect(() => tokenDivergence(one, weight, one, one)).toThrow(/do not fit/);
    const trained = record(() => [tokenDivergence(one, weight, one, weight)]);
    expect(() => trained.backward([tensor([1], [1])], (_, gradient) => gradient.dispose())).toThrow(/no gradient for the teacher/);
  });
});
