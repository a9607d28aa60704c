import { EspalierError } from '@espalier/spec';
import { z } from 'zod';
import { datasetOf } from '../dataset';
import { hash32 } from '../random';
import { commonTaskOptions, iterable, type TaskDataset, type TaskFamily, type TaskRow } from './family';
import { taskFamilies, taskFamily } from './families';

/** Options of {@link taskMixture}. Those that families share go to each of them. */
export const taskMixtureOptions = commonTaskOptions.omit({ template: true }).extend({
  /** `name`, or `name*weight`: how often a family is drawn, relative to the others. Default: all of this package, alike. */
  families: z.union([z.string().transform((name) => [name]), z.array(z.string()).nonempty()]).optional(),
  /** One difficulty, or several, drawn alike. */
  difficulty: z.union([z.int().min(1).max(5).transform((level) => [level]), z.array(z.coerce.number().int().min(1).max(5)).nonempty()]).default([2]),
});
export type TaskMixtureOptions = z.input<typeof taskMixtureOptions>;

/** A family and a difficulty. */
export interface TaskArm {
  family: TaskFamily;
  difficulty: number;
}

/** Families with their weights, of `['chain*2', 'compare_numbers']`. @throws EspalierError `not_found`, `bad_config` */
export function parseFamilies(written: readonly string[] | undefined, more: readonly TaskFamily[] = []): { family: TaskFamily; weight: number }[] {
  if (written === undefined) return [...taskFamilies, ...more].map((family) => ({ family, weight: 1 }));
  return written.map((entry) => {
    const [name, weight = '1'] = entry.split('*').map((part) => part.trim());
    const family = taskFamily(name, more);
    if (!family) throw new EspalierError('not_found', `there is no task family "${name}"`, { fix: `one of ${[...more, ...taskFamilies].map((known) => known.name).join(', ')}` });
    if (!(Number(weight) > 0 && Number.isFinite(Number(weight)))) throw new EspalierError('bad_config', `the weight of "${name}" is "${weight}"`, { fix: 'a number above 0, as in chain*2' });
    return { family, weight: Number(weight) };
  });
}

/**
 * Problems of several families and difficulties, drawn by weights and a seed. Each row says its `family`, `difficulty` and `reward`, so that `--reward task` scores all
 * of them. Row `i` is always the same.
 *
 * @throws EspalierError `not_found` for an unknown family; `bad_config` for wrong options, or fewer different problems than `size`
 * @example
 * taskMixture({ families: ['arithmetic*2', 'count_letters'], difficulty: [1, 2], split: 'train', size: 512 });
 */
export function taskMixture(input: TaskMixtureOptions = {}, more: readonly TaskFamily[] = []): TaskDataset {
  const parsed = taskMixtureOptions.safeParse(input);
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0];
    throw new EspalierError('bad_config', `task mixture: ${path.length > 0 ? `\`${path.join('.')}\`: ` : ''}${message}`);
  }
  const { families, difficulty: difficulties, size, ...options } = parsed.data;
  const entries = parseFamilies(families, more);
  const total = entries.reduce((sum, { weight }) => sum + weight, 0);
  const pick = (index: number): TaskArm => {
    let left = (hash32(options.seed, 0x3a1, index) / 4294967296) * total;
    const { family } = entries.find(({ weight }) => (left -= weight) < 0) ?? entries[entries.length - 1];
    return { family, difficulty: difficulties[hash32(options.seed, 0x3a2, index) % difficulties.length] };
  };
  const rowOf = (index: number, number: number): TaskRow => {
    const { family, difficulty } = pick(index);
    return family.generate(number, { ...options, difficulty });
  };
  const name = options.split === 'all' ? 'mixture' : `mixture (${options.split.replace('_', ' ')})`;
  if (size === undefined) return iterable({ name, size: Infinity, row: (index) => rowOf(index, index), origin: () => ({}) });
  const seen = new Set<string>();
  const rows = Array.from({ length: size }, (_, index) => {
    for (let attempt = 0; attempt < 1000; attempt++) {
      const row = rowOf(index, index + attempt * size);
      const key = JSON.stringify(row.prompt);
      if (seen.has(key)) continue;
      seen.add(key);
      return row;
    }
    const { family, difficulty } = pick(index);
    throw new EspalierError('bad_config', `task mixture: there are not enough different problems of ${family.name} with difficulty ${difficulty} for row ${index + 1} of ${size}`, { fix: 'a smaller `size`, higher difficulties, or a smaller weight of that family' });
  });
  return iterable(datasetOf(rows, name));
}
