/** A number with four digits that count, no exponent where it can be avoided. */
export function formatNumber(value: number | null | undefined): string {
  if (value === null || value === undefined || Number.isNaN(value)) return '–';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞';
  const size = Math.abs(value);
  const text = size === 0 ? '0' : size >= 1e7 || size < 1e-4 ? value.toExponential(2).replace('e+', 'e') : size >= 1000 ? Math.round(value).toLocaleString('en') : String(Number(value.toPrecision(4)));
  return text.replace('-', '−');
}

/** The same, short enough for an axis. */
export function formatTick(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e4) {
    const [scale, unit] = size >= 1e9 ? [1e9, 'G'] : size >= 1e6 ? [1e6, 'M'] : [1e3, 'k'];
    return `${Number((value / scale).toPrecision(3))}${unit}`.replace('-', '−');
  }
  return (size !== 0 && size < 1e-3 ? value.toExponential(1).replace('.0', '') : String(Number(value.toPrecision(6)))).replace('-', '−');
}

/** `1 h 12 min`, `4.2 s`. */
export function formatDuration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return '–';
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export const formatTime = (milliseconds: number): string => new Date(milliseconds).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });

export const plural = (count: number, one: string, many = `${one}s`): string => `${count.toLocaleString('en')} ${count === 1 ? one : many}`;
