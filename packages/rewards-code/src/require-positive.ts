import { EspalierError } from '@espalier/spec';

export function requirePositive(name: string, value: number): void {
  if (!(Number.isFinite(value) && value > 0)) throw new EspalierError('bad_config', `\`${name}\` is ${String(value)}`, { fix: 'a number above 0' });
}
