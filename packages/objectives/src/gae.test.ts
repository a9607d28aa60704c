import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { gae, whitened } from './gae';
import { rowsOf } from './rows';

interface Case {
  options: { gamma?: number; lam?: number };
  masks: { policy: number[][]; value: number[][] };
  experience: Record<'rewards' | 'advantages' | 'returns' | 'values', number[][]>;
}

// Made by tools/fixtures/make-ppo-fixtures.py: lines of TRL 1.9.0 in float64
const { cases } = JSON.parse(readFileSync(new URL('../../ppo/fixtures/ppo-trl-1.9.0.json', import.meta.url), 'utf8')) as { cases: Case[] };
const close = (found: readonly ArrayLike<number>[], expected: readonly (readonly number[])[], digits: number) => expected.forEach((row, r) => row.forEach((v, t) => expect(found[r][t], `[${r}][${t}]`).toBeCloseTo(v, digits)));

describe('gae', () => {
  it('three tokens, γ 0.99 and λ 0.95, with the whitening of TRL\'s helper', () => {
    const inputs = { rewards: [[0, -0.1, 1]], values: [[0.5, 0.4, 0.3]] };
    const { advantages, returns } = gae(inputs, { gamma: 0.99, lam: 0.95 });
    close(advantages, [[0.32425667, 0.45535, 0.7]], 8);
    close(returns, [[0.82425667, 0.85535, 1]], 8);
    close(gae(inputs, { gamma: 0.99, lam: 0.95, whiten: true }).advantages, [[-0.885876, -0.19848, 1.084356]], 6);
    close(gae(inputs, { gamma: 0.99, lam: 0.95, whiten: true }).returns, returns, 12);
  });

  it.each(cases.map((c, i) => [i, JSON.stringify(c.options), c] as const))('TRL 1.9.0 on random inputs, %i: %s', (_i, _name, { options, masks, experience }) => {
    // TRL's value mask holds one entry more than its policy mask for a completion that ended early
    const { advantages, returns } = gae({ rewards: experience.rewards, values: experience.values, mask: masks.value }, options);
    const kept = masks.policy.flatMap((row, r) => row.flatMap((m, t) => (m ? [advantages[r][t]] : [])));
    const white = whitened(kept);
    let next = 0;
    masks.policy.forEach((row, r) => row.forEach((m, t) => {
      if (m) expect(white[next++]).toBeCloseTo(experience.advantages[r][t], 9);
      if (masks.value[r][t]) expect(returns[r][t]).toBeCloseTo(experience.returns[r][t], 9);
    }));
    expect(next).toBe(kept.length);
  });

  it('λ 1 is the discounted return minus the value, λ 0 the one-step error', () => {
    const inputs = { rewards: [[1, 2, 3]], values: [[0.5, -1, 2]] };
    close(gae(inputs, { gamma: 0.5, lam: 1 }).returns, [[1 + 0.5 * 2 + 0.25 * 3, 2 + 0.5 * 3, 3]], 12);
    close(gae(inputs, { gamma: 0.5, lam: 0 }).advantages, [[1 + 0.5 * -1 - 0.5, 2 + 0.5 * 2 + 1, 3 - 2]], 12);
  });

  it('steps over what is masked: a tool\'s output between two tokens counts as no time', () => {
    const { advantages, returns } = gae({ rewards: [[0, 9, 1, 9]], values: [[0.2, NaN, 0.4, NaN]], mask: [[1, 0, 1, 0]] }, { gamma: 0.9 });
    const plain = gae({ rewards: [[0, 1]], values: [[0.2, 0.4]] }, { gamma: 0.9 });
    expect(advantages).toEqual([[plain.advantages[0][0], 0, plain.advantages[0][1], 0]]);
    expect(returns).toEqual([[plain.returns[0][0], 0, plain.returns[0][1], 0]]);
  });

  it('ragged rows give flat vectors with the same numbers; rows do not leak into one another', () => {
    const nested = gae({ rewards: [[0, 1], [], [2]], values: [[0.1, 0.2], [], [0.3]] }, { whiten: true });
    const ragged = gae({ rewards: Float64Array.of(0, 1, 2), values: [0.1, 0.2, 0.3], rows: rowsOf([2, 0, 1]) }, { whiten: true });
    expect(ragged.advantages).toBeInstanceOf(Float64Array);
    expect([...ragged.advantages]).toEqual(nested.advantages.flat());
    expect([...ragged.returns]).toEqual(nested.returns.flat());
    expect([...gae({ rewards: [0, 1], values: [0.1, 0.2] }).returns]).toEqual(gae({ rewards: [[0, 1]], values: [[0.1, 0.2]] }).returns[0]);
    expect(gae({ rewards: [], values: [] })).toEqual({ advantages: [], returns: [] });
  });

  it('names what does not fit', () => {
    expect(() => gae({ rewards: [[1, 2]], values: [[1]] })).toThrow(/row 0 of `values` has 1 entries, 2 were expected/);
    expect(() => gae({ rewards: [[Infinity]], values: [[1]] })).toThrow(/`rewards`\[0\]\[0\] is Infinity/);
    expect(() => gae({ rewards: [1, 2], values: [1] })).toThrow(/`values` has 1 numbers, 2 were expected/);
    expect(() => gae({ rewards: [[1]], values: [[1]] }, { lam: 1.5 })).toThrow(/`lam` is 1.5/);
    expect(() => gae({ rewards: [[1]], values: [[1]] }, { whiten: true })).toThrow(/variance needs two values/);
  });
});

it('whitened without the shift of the mean, as rewards are', () => {
  close([whitened([0, -0.1, 1], { shiftMean: false })], [[-0.19319695, -0.35759595, 1.45079303]], 6);
});
