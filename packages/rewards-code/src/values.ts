import type { WireValue } from './protocol';

/**
 * A value of ours (an expected one, from a row) in the form in which values leave a sandbox, so that both can be compared as data.
 * Besides JSON: `undefined`, `NaN` and infinities, bigints, sets, maps and dates.
 */
export function toWire(value: unknown): WireValue {
  switch (typeof value) {
    case 'number':
      return Number.isFinite(value) && !Object.is(value, -0) ? value : ['number', Object.is(value, -0) ? '-0' : String(value)];
    case 'string':
    case 'boolean':
      return value;
    case 'bigint':
      return ['bigint', String(value)];
    case 'undefined':
      return ['undefined'];
    case 'function':
    case 'symbol':
      return [typeof value as 'function' | 'symbol'];
    default:
      if (value === null) return null;
      if (Array.isArray(value)) return ['array', ...Array.from(value, toWire)];
      if (value instanceof Date) return ['date', toWire(value.getTime())];
      if (value instanceof Set) return ['set', ...Array.from(value, toWire)];
      if (value instanceof Map) return ['map', ...Array.from(value, (entry: [unknown, unknown]) => toWire(entry))];
      return ['object', ...Object.entries(value as object).map(([name, part]) => [name, toWire(part)])];
  }
}

/** Relative difference up to which numbers that are not whole count as equal, unless a test says otherwise. */
export const defaultTolerance = 1e-9;

/**
 * Whether what came out of a sandbox is what was expected: the same kind, the same parts. Objects, sets and maps in any order; 0 and −0 are equal, and so are NaN and NaN;
 * numbers that are not whole may differ by `tolerance`, relative to the larger (or to 1).
 */
export function sameValue(given: WireValue | undefined, expected: WireValue, tolerance = defaultTolerance): boolean {
  const a = given === undefined ? null : asNumber(given);
  const b = asNumber(expected);
  if (a !== null || b !== null) return a !== null && b !== null && sameNumber(a, b, tolerance);
  if (!Array.isArray(given) || !Array.isArray(expected)) return given === expected;
  const [kind, ...parts] = given as readonly [string, ...unknown[]];
  const [expectedKind, ...expectedParts] = expected as readonly [string, ...unknown[]];
  if (kind !== expectedKind || parts.length !== expectedParts.length) return false;
  switch (kind) {
    case 'array':
      return parts.every((part, i) => sameValue(part as WireValue, expectedParts[i] as WireValue, tolerance));
    case 'set':
    case 'map':
      return matchAll(parts as WireValue[], expectedParts as WireValue[], tolerance);
    case 'object': {
      const own = new Map(parts as [string, WireValue][]);
      return own.size === parts.length && (expectedParts as [string, WireValue][]).every(([name, part]) => own.has(name) && sameValue(own.get(name), part, tolerance));
    }
    case 'date':
      return sameValue(parts[0] as WireValue, expectedParts[0] as WireValue, 0);
    case 'bigint':
      return parts[0] === expectedParts[0];
    default:
      return kind === 'undefined'; // functions, symbols and the like are equal to nothing
  }
}

/** Each part of the one beside a part of the other, whatever their order. */
function matchAll(given: WireValue[], expected: WireValue[], tolerance: number): boolean {
  const left = [...given];
  return expected.every((part) => {
    const at = left.findIndex((one) => sameValue(one, part, tolerance));
    if (at >= 0) left.splice(at, 1);
    return at >= 0;
  });
}

function asNumber(value: WireValue): number | null {
  if (typeof value === 'number') return value;
  return Array.isArray(value) && value[0] === 'number' ? Number(value[1]) : null;
}

function sameNumber(a: number, b: number, tolerance: number): boolean {
  if (a === b || (Number.isNaN(a) && Number.isNaN(b))) return true;
  if ((Number.isInteger(a) && Number.isInteger(b)) || !Number.isFinite(a) || !Number.isFinite(b)) return false;
  return Math.abs(a - b) <= tolerance * Math.max(1, Math.abs(a), Math.abs(b));
}

/** Arguments as a JavaScript literal. Literals define what they hold, so that no setter of a program runs when they are made. */
export function toLiteral(value: unknown): string {
  switch (typeof value) {
    case 'number':
      return Object.is(value, -0) ? '-0' : value < 0 ? `(${value})` : String(value);
    case 'bigint':
      return `(${value}n)`;
    case 'undefined':
      return 'undefined';
    case 'object':
      if (value === null) return 'null';
      if (Array.isArray(value)) return `[${Array.from(value, toLiteral).join(',')}]`;
      return `({${Object.entries(value).map(([name, part]) => `[${JSON.stringify(name)}]:${toLiteral(part)}`).join(',')}})`;
    default:
      return JSON.stringify(value);
  }
}
