/** An exact number: numerator over a positive denominator, in lowest terms. */
export interface Fraction {
  top: bigint;
  bottom: bigint;
}

const gcd = (a: bigint, b: bigint): bigint => (b === 0n ? (a < 0n ? -a : a) : gcd(b, a % b));

/** @param bottom not 0 */
export function fraction(top: bigint, bottom = 1n): Fraction {
  const sign = bottom < 0n ? -1n : 1n;
  const divisor = gcd(top, bottom) || 1n;
  return { top: (sign * top) / divisor, bottom: (sign * bottom) / divisor };
}

/** A number as written: digits, groups of thousands, decimals. */
export function readDecimal(text: string): Fraction {
  const [whole, decimals = ''] = text.replaceAll(',', '').split('.');
  return fraction(BigInt(whole + decimals || '0'), 10n ** BigInt(decimals.length));
}

export const add = (a: Fraction, b: Fraction) => fraction(a.top * b.bottom + b.top * a.bottom, a.bottom * b.bottom);
export const subtract = (a: Fraction, b: Fraction) => fraction(a.top * b.bottom - b.top * a.bottom, a.bottom * b.bottom);
export const multiply = (a: Fraction, b: Fraction) => fraction(a.top * b.top, a.bottom * b.bottom);
/** Null for a division by 0. */
export const divide = (a: Fraction, b: Fraction) => (b.top === 0n ? null : fraction(a.top * b.bottom, a.bottom * b.top));
export const equal = (a: Fraction, b: Fraction) => a.top === b.top && a.bottom === b.bottom;

/** Whether a number, written with so many decimals, is this one rounded (either way where it lies in the middle). */
export function roundsTo(value: Fraction, written: Fraction, decimals: number): boolean {
  const unit = 10n ** BigInt(decimals);
  const difference = subtract(value, written);
  const twice = 2n * (difference.top < 0n ? -difference.top : difference.top) * unit;
  return twice <= difference.bottom;
}
