import { datasetOf, type Dataset } from '@espalier/data';
import { codeTasks } from '@espalier/rewards-code';
import { EspalierError } from '@espalier/spec';

const known = ['seed', 'size', 'split', 'style'];

/**
 * `code:size=200,split=held_out,seed=1,style=chat`: rows of {@link codeTasks}, with the options' names and values as the procedural tasks have them.
 * @throws EspalierError `bad_config` for another option, or a value that is none
 */
export function codeDataset(options: Readonly<Record<string, unknown>>): Dataset {
  const stray = Object.keys(options).find((name) => !known.includes(name));
  if (stray !== undefined) throw new EspalierError('bad_config', `task code has no option \`${stray}\``, { fix: known.join(', ') });
  const { seed, size, split, style } = options;
  if (split !== undefined && split !== 'train' && split !== 'held_out') throw new EspalierError('bad_config', `task code: \`split\` is ${JSON.stringify(split)}`, { fix: 'train or held_out' });
  const tasks = codeTasks({
    ...(seed === undefined ? {} : { seed: seed as number }),
    ...(size === undefined ? {} : { count: size as number }),
    ...(split === undefined ? {} : { split: split === 'train' ? 'train' : 'test' }),
    ...(style === undefined ? {} : { style: style as 'chat' }),
  });
  return datasetOf(tasks, 'code');
}
