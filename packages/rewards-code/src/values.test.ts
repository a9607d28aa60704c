import { describe, expect, it } from 'vitest';
import type { WireValue } from './protocol';
import { sameValue, toLiteral, toWire } from './values';

const same = (a: unknown, b: unknown, tolerance?: number) => sameValue(toWire(a), toWire(b), tolerance);

describe('sameValue', () => {
  const equal: [unknown, unknown][] = [
    [1, 1], [0, -0], [NaN, NaN], [Infinity, Infinity], ['a', 'a'], [true, true], [null, null], [undefined, undefined], [5n, 5n], [0.1 + 0.2, 0.3], [1e300 * 3, 3e300], [[], []], [[1, [2]], [1, [2]]],
    [{ a: 1, b: { c: [] } }, { b: { c: [] }, a: 1 }], [new Set([1, 2]), new Set([2, 1])], [new Map([['a', 1]]), new Map([['a', 1]])], [new Date(7), new Date(7)], [[undefined], [undefined]], [{}, {}],
  ];
  it.each(equal.map((pair, i) => [i, pair] as const))('equal pair %d', (_, [a, b]) => {
    expect(same(a, b)).toBe(true);
    expect(same(b, a)).toBe(true);
  });
  const different: [unknown, unknown][] = [
    [1, 2], [1, '1'], [1, 1n], [1, true], [0, null], [0, false], [0, ''], [null, undefined], [NaN, null], [Infinity, -Infinity], [[], {}], [[1], [1, 2]], [[1, 2], [2, 1]], [{ a: 1 }, { a: 1, b: undefined }], [{ a: 1 }, { a: 2 }], [{ a: 1 }, { b: 1 }],
    [new Set([1]), [1]], [new Set([1, 1.5]), new Set([1, 2])], [new Map([['a', 1]]), { a: 1 }], [new Date(7), 7], [new Date(7), new Date(8)], [() => 1, () => 1], [Symbol.iterator, Symbol.iterator], [0.1, 0.10001], [1e16, 1e16 + 2], [2 ** 53, 2 ** 53 - 1], [1, 1.0001],
    [['array', 1], [1]], ['["array",1]', [1]],
  ];
  it.each(different.map((pair, i) => [i, pair] as const))('different pair %d', (_, [a, b]) => {
    expect(same(a, b)).toBe(false);
    expect(same(b, a)).toBe(false);
  });
  it('takes a tolerance for numbers that are not whole', () => {
    expect(same(0.5, 0.51, 0.1)).toBe(true);
    expect(same(0.5, 0.51, 0)).toBe(false);
    expect(same(10, 11, 0.5)).toBe(false);
  });
  it('nothing is equal to what never came, and a key that comes twice is no object', () => {
    expect(sameValue(undefined, toWire(undefined))).toBe(false);
    expect(sameValue(['object', ['a', 1], ['a', 1]] as WireValue, ['object', ['a', 1], ['b', 1]] as WireValue)).toBe(false);
  });
});

describe('toLiteral', () => {
  it.each([1, -1, 0.5, 1e21, NaN, Infinity, -Infinity, undefined, null, true, 'a"b\u2028\n', [1, [2, undefined]], { a: { 'b c': -2 } }, 12n, -12n, [[], {}], { a: [{}] }].map((value, i) => [i, value]))('value %d comes back', (_, value) => {
    // The literal is of our own making.
    expect(new Function(`return [${toLiteral(value)}]`)()).toEqual([value]);
  });
  it('names are only names', () => {
    const made = new Function(`return ${toLiteral(JSON.parse('{"__proto__": {"a": 1}, "constructor": 2}'))}`)() as object;
    expect(Object.getPrototypeOf(made)).toBe(Object.prototype);
    expect(Object.keys(made)).toEqual(['__proto__', 'constructor']);
    expect(Object.is((new Function(`return ${toLiteral([-0])}`)() as number[])[0], -0)).toBe(true);
  });
});
