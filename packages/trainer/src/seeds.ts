import { hash32 } from '@espalier/data';

/**
 * A 32-bit seed that depends on all of its parts and on nothing else, so a resumed run draws what the uninterrupted one would have drawn.
 * @example
 * deriveSeed(args.seed, round, row);
 */
export function deriveSeed(...parts: readonly number[]): number {
  return hash32(...parts);
}
