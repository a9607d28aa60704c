import type { Random } from '@espalier/data';
import { EspalierError } from '@espalier/spec';

/**
 * `count` different items, each draw as likely as its weight among those that are left.
 * @throws EspalierError `bad_config` when there are fewer items
 */
export function drawDistinct<T extends { weight: number }>(items: readonly T[], count: number, random: Random, what = 'principles'): T[] {
  if (count > items.length) throw new EspalierError('bad_config', `${count} different ${what} were asked for, and there are ${items.length}`, { fix: `at most ${items.length}` });
  const left = [...items];
  return Array.from({ length: count }, () => {
    let at = (random.uint32() / 4294967296) * left.reduce((sum, { weight }) => sum + weight, 0);
    let i = 0;
    while (i < left.length - 1 && at >= left[i].weight) at -= left[i++].weight;
    return left.splice(i, 1)[0];
  });
}
