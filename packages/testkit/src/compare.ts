import { ContractViolation, show } from './contract-violation';

/** A copy that later changes do not reach: plain objects, arrays and typed arrays; what else there is (functions, class instances) is kept as it is. */
export function snapshot<T>(value: T): T {
  if (ArrayBuffer.isView(value)) return (value as unknown as Float32Array).slice() as unknown as T;
  if (Array.isArray(value)) return value.map(snapshot) as unknown as T;
  if (value instanceof Map) return new Map([...value].map(([key, inner]) => [key, snapshot(inner)])) as unknown as T;
  if (isPlain(value)) return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, snapshot(inner)])) as T;
  return value;
}

const isPlain = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && [Object.prototype, null].includes(Object.getPrototypeOf(value) as object | null);

/**
 * Where two values differ first; null when they are the same. Numbers may differ by `tolerance`, relative to the larger of 1 and the expected one; NaN is NaN.
 * @example
 * difference({ a: [1, 2] }, { a: [1, 3] }); // { path: 'a[1]', expected: 2, found: 3 }
 */
export function difference(expected: unknown, found: unknown, tolerance = 0, path = ''): { path: string; expected: unknown; found: unknown } | null {
  const differs = { path, expected, found };
  if (typeof expected === 'number' && typeof found === 'number') {
    if (Object.is(expected, found) || expected === found) return null;
    return Math.abs(expected - found) <= tolerance * Math.max(1, Math.abs(expected)) ? null : differs;
  }
  if (isList(expected) || isList(found)) {
    if (!isList(expected) || !isList(found) || expected.constructor !== found.constructor) return differs;
    if (expected.length !== found.length) return { path: path === '' ? 'length' : `${path}.length`, expected: expected.length, found: found.length };
    for (let i = 0; i < expected.length; i++) {
      const inner = difference(expected[i], found[i], tolerance, `${path}[${i}]`);
      if (inner) return inner;
    }
    return null;
  }
  if (expected instanceof Map && found instanceof Map) return difference([...expected], [...found], tolerance, path);
  if (isPlain(expected) && isPlain(found)) {
    for (const key of new Set([...Object.keys(expected), ...Object.keys(found)])) {
      const inner = difference(expected[key], found[key], tolerance, path === '' ? key : `${path}.${key}`);
      if (inner) return inner;
    }
    return null;
  }
  return Object.is(expected, found) ? null : differs;
}

type List = ArrayLike<unknown> & { constructor: unknown };
const isList = (value: unknown): value is List => Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));

/** Throws unless the two are the same; `what` names the value in the message. */
export function demandSame(expected: unknown, found: unknown, options: { what: string; as: string; why: string; tolerance?: number }): void {
  const differs = difference(expected, found, options.tolerance ?? 0);
  if (!differs) return;
  const at = differs.path === '' ? '' : ` at ${differs.path}`;
  throw new ContractViolation({ expected: `${options.what} ${options.as} (${show(differs.expected)}${at})`, found: `${show(differs.found)}${at}`, why: options.why });
}

/** Runs `work`, and throws when it has changed `value`. */
export async function unchanged<T>(value: unknown, what: string, why: string, work: () => T | Promise<T>): Promise<T> {
  const before = snapshot(value);
  const result = await work();
  demandSame(before, value, { what, as: 'as it was given', why });
  return result;
}

/** Throws unless the value survives JSON. */
export function demandJson(value: unknown, what: string, why: string): void {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    throw new ContractViolation({ expected: `${what} to be plain JSON`, found: show(error), why });
  }
  const differs = text === undefined ? { path: '', expected: value, found: undefined } : difference(withoutUndefined(value), JSON.parse(text) as unknown);
  if (differs) throw new ContractViolation({ expected: `${what} to be plain JSON`, found: `${show(differs.expected)}${differs.path ? ` at ${differs.path}` : ''}, which JSON does not keep`, why });
}

/** Absent and `undefined` are one in JSON. */
function withoutUndefined(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutUndefined);
  if (!isPlain(value)) return value;
  return Object.fromEntries(Object.entries(value).filter(([, inner]) => inner !== undefined).map(([key, inner]) => [key, withoutUndefined(inner)]));
}
