/**
 * A number as people write one: an optional minus sign, digits with or without groups of thousands, decimals. The minus counts where it is not a
 * hyphen or an operator between two operands ("3-4" ends with 4, "3 - -4" with −4).
 */
const numberPattern = /(?<![\d.,\w)\]])[-−]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?/gu;

/** A number without rounding: sign, digits without leading zeros, decimals without trailing ones. Equal numbers have equal forms. */
export function canonicalNumber(text: string): string | null {
  const match = /^\s*([-+−]?)\$?\s*((?:\d{1,3}(?:,\d{3})+|\d+)?)(?:\.(\d*))?\s*$/u.exec(text);
  if (!match || (match[2] === '' && !match[3])) return null;
  const whole = match[2].replaceAll(',', '').replace(/^0+(?=\d)/, '') || '0';
  const decimals = (match[3] ?? '').replace(/0+$/, '');
  const magnitude = decimals === '' ? whole : `${whole}.${decimals}`;
  return (match[1] === '-' || match[1] === '−') && magnitude !== '0' ? `-${magnitude}` : magnitude;
}

/** The last number of a text in canonical form; null when there is none. */
export function lastNumber(text: string): string | null {
  const found = text.match(numberPattern);
  return found ? canonicalNumber(found[found.length - 1]) : null;
}

/** A row's answer as a canonical number: a number, or text that is one ("1,234", "-3.50", "$5"); null when it cannot be read. */
export function answerNumber(answer: unknown): string | null {
  if (typeof answer === 'number') return Number.isFinite(answer) ? canonicalNumber(plain(answer)) : null;
  if (typeof answer === 'bigint') return canonicalNumber(String(answer));
  return typeof answer === 'string' ? canonicalNumber(answer) : null;
}

/** A number in decimal notation: 1.5e-7 is 0.00000015. */
function plain(value: number): string {
  const match = /^(-?)(\d+)(?:\.(\d+))?e([+-]\d+)$/.exec(String(value));
  if (!match) return String(value);
  const [, sign, whole, decimals = '', exponent] = match;
  const digits = whole + decimals;
  const point = whole.length + Number(exponent);
  if (point <= 0) return `${sign}0.${'0'.repeat(-point)}${digits}`;
  return point >= digits.length ? `${sign}${digits.padEnd(point, '0')}` : `${sign}${digits.slice(0, point)}.${digits.slice(point)}`;
}
