/** A fraction in lowest terms; the denominator is above 0. */
export interface Rational {
  readonly n: bigint;
  readonly d: bigint;
}

/** Digits beyond which numbers are no longer computed exactly: text from a model must not be able to fill the memory. */
const maxDigits = 2000;
const tooLong = (n: bigint) => (n < 0n ? -n : n) >= limit;
const limit = 10n ** BigInt(maxDigits);

function gcd(a: bigint, b: bigint): bigint {
  while (b !== 0n) [a, b] = [b, a % b];
  return a < 0n ? -a : a;
}

/** n / d; null where d is 0, or the numbers are too long to go on with. */
export function rational(n: bigint, d: bigint = 1n): Rational | null {
  if (d === 0n || tooLong(n) || tooLong(d)) return null;
  const common = gcd(n, d) || 1n;
  const sign = d < 0n ? -1n : 1n;
  return { n: (sign * n) / common, d: (sign * d) / common };
}

export const isRational = (value: unknown): value is Rational => typeof value === 'object' && value !== null && 'n' in value && 'd' in value;
export const add = (a: Rational, b: Rational): Rational | null => rational(a.n * b.d + b.n * a.d, a.d * b.d);
export const subtract = (a: Rational, b: Rational): Rational | null => rational(a.n * b.d - b.n * a.d, a.d * b.d);
export const multiply = (a: Rational, b: Rational): Rational | null => rational(a.n * b.n, a.d * b.d);
export const divide = (a: Rational, b: Rational): Rational | null => rational(a.n * b.d, a.d * b.n);
export const equal = (a: Rational, b: Rational): boolean => a.n === b.n && a.d === b.d;

/** a to a whole power; null where it is too long, or 0 to a negative one. */
export function power(a: Rational, exponent: bigint): Rational | null {
  const size = exponent < 0n ? -exponent : exponent;
  const digits = Math.max(String(a.n).length, String(a.d).length);
  if (digits > 1 || (a.n !== 0n && a.n !== 1n && a.n !== -1n) || a.d !== 1n) if (size > BigInt(Math.ceil((maxDigits * 2) / digits))) return null;
  const [n, d] = size > 100_000n ? [a.n === -1n ? (size % 2n === 0n ? 1n : -1n) : a.n, 1n] : [a.n ** size, a.d ** size]; // only 0, 1 and −1 come so far
  return exponent < 0n ? rational(d, n) : rational(n, d);
}

/** The k-th root where it is rational, else null. */
export function root(a: Rational, k: number): Rational | null {
  if (!Number.isInteger(k) || k < 2 || k > 100 || (a.n < 0n && k % 2 === 0)) return null;
  const n = wholeRoot(a.n < 0n ? -a.n : a.n, k);
  const d = wholeRoot(a.d, k);
  return n === null || d === null ? null : rational(a.n < 0n ? -n : n, d);
}

function wholeRoot(n: bigint, k: number): bigint | null {
  if (n < 2n) return n;
  const power = BigInt(k);
  let low = 1n;
  let high = 1n << BigInt(Math.ceil(n.toString(2).length / k));
  while (low < high) {
    const middle = (low + high + 1n) >> 1n;
    if (middle ** power <= n) low = middle;
    else high = middle - 1n;
  }
  return low ** power === n ? low : null;
}

/** `12`, `.5`, `3.`, `1.5e-7` as a fraction. */
export function parseDecimal(text: string): Rational | null {
  const match = /^(-?)(\d*)\.?(\d*)(?:[eE]([+-]?\d{1,4}))?$/.exec(text);
  if (!match || match[2] + match[3] === '' || match[2].length + match[3].length > maxDigits) return null;
  const exponent = Number(match[4] ?? 0) - match[3].length;
  if (Math.abs(exponent) > maxDigits) return null;
  const digits = BigInt(`${match[1]}${match[2]}${match[3]}`);
  return exponent < 0 ? rational(digits, 10n ** BigInt(-exponent)) : rational(digits * 10n ** BigInt(exponent));
}

/** The nearest float. */
export function toNumber({ n, d }: Rational): number {
  const plain = Number(n) / Number(d);
  if (Number.isFinite(plain)) return plain;
  const shift = BigInt(Math.max(0, Math.max(n.toString(2).length, d.toString(2).length) - 1000));
  return Number(n >> shift) / Number(d >> shift);
}
