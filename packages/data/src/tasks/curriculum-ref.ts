import { EspalierError } from '@espalier/spec';
import { z } from 'zod';
import { curriculum, type Curriculum, type CurriculumOptions } from './curriculum';
import { parseTaskOptions } from './task-options';

const options = z.strictObject({
  families: z.array(z.string()).nonempty().optional(),
  difficulties: z.array(z.int().min(1).max(5)).nonempty().optional(),
  seed: z.int().min(0).max(0xffffffff).optional(),
  split: z.enum(['all', 'train', 'held_out']).optional(),
  low: z.number().optional(),
  high: z.number().optional(),
  decay: z.number().optional(),
  floor: z.number().optional(),
});

const name = 'curriculum';

/** Whether a reference names a curriculum, which has no rows by number and can be trained on alone. */
export const isCurriculumRef = (ref: string): boolean => ref === name || ref.startsWith(`${name}:`);

/**
 * A curriculum by what a user writes where rows are named: `curriculum:families=arithmetic*2|count_letters,difficulties=1|2|3,seed=1`.
 * @throws EspalierError `bad_config` for options that there are none of; as {@link curriculum}
 * @example
 * const rows = curriculumByRef('curriculum:families=arithmetic|chain,difficulties=1|2').next(8);
 */
export function curriculumByRef(ref: string): Curriculum {
  if (!isCurriculumRef(ref)) throw new EspalierError('bad_config', `"${ref}" names no curriculum`, { fix: 'curriculum:families=arithmetic|chain,difficulties=1|2' });
  const parsed = options.safeParse(parseTaskOptions(ref.slice(name.length + 1), ref, options));
  if (!parsed.success) throw new EspalierError('bad_config', `"${ref}": \`${parsed.error.issues[0].path.join('.')}\`: ${parsed.error.issues[0].message}`);
  return curriculum(parsed.data as CurriculumOptions);
}
