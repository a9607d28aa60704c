import { existsSync } from 'node:fs';
import { EspalierError } from '@espalier/spec';
import { arithmeticOptions, arithmeticTask, type ArithmeticOptions } from './arithmetic';
import { loadJsonl, type Dataset } from './dataset';
import type { ReadJsonlOptions } from './jsonl';

/** Procedural tasks by name. */
export const tasks = {
  arithmetic: (options: Record<string, unknown>) => arithmeticTask(options as ArithmeticOptions),
} as const satisfies Record<string, (options: Record<string, unknown>) => Dataset>;
export type TaskName = keyof typeof tasks;

export const taskNames = Object.keys(tasks) as TaskName[];

/**
 * A dataset by what a user writes: a path to a `.jsonl` file, or the name of a procedural task with options after a colon
 * (`arithmetic`, `arithmetic:difficulty=3,seed=7,size=512`). A file of that name goes before a task.
 *
 * @param options for a file, what its rows must be; for a task, its options, which those in `ref` override
 * @throws EspalierError `not_found` when it is neither; as {@link loadJsonl} and the task besides
 *
 * @example
 * const dataset = await datasetByRef('arithmetic:difficulty=2', { task: { seed: 1 } });
 */
export async function datasetByRef(ref: string, options: { jsonl?: ReadJsonlOptions; task?: Record<string, unknown> } = {}): Promise<Dataset> {
  if (existsSync(ref)) return loadJsonl(ref, options.jsonl);
  const [name, written] = ref.includes(':') ? [ref.slice(0, ref.indexOf(':')), ref.slice(ref.indexOf(':') + 1)] : [ref, ''];
  if (name in tasks) return tasks[name as TaskName]({ ...options.task, ...parseTaskOptions(written, ref) });
  const looksLikeFile = /[/\\]|\.\w+$/.test(ref);
  throw new EspalierError('not_found', looksLikeFile ? `there is no file ${ref}` : `"${ref}" is neither a file nor a task`, { fix: `a .jsonl file, or one of the tasks ${taskNames.join(', ')}` });
}

/** `difficulty=3,operations=+|-,template=…`: numbers and booleans by their looks, lists with `|`. */
function parseTaskOptions(written: string, ref: string): Record<string, unknown> {
  if (written === '') return {};
  return Object.fromEntries(
    written.split(',').map((pair) => {
      const at = pair.indexOf('=');
      if (at < 1) throw new EspalierError('bad_config', `"${pair}" in "${ref}" is no option`, { fix: 'name=value, separated by commas' });
      const name = pair.slice(0, at).trim().replace(/_([a-z])/g, (_, c: string) => c.toUpperCase());
      const value = pair.slice(at + 1).trim();
      if (name === 'operations') return [name, value.split('|')];
      if (!(name in arithmeticOptions.shape)) throw new EspalierError('bad_config', `"${ref}": the task has no option \`${name}\``, { fix: `one of ${Object.keys(arithmeticOptions.shape).join(', ')}` });
      return [name, value === 'true' ? true : value === 'false' ? false : /^-?\d+(\.\d+)?$/.test(value) ? Number(value) : value];
    }),
  );
}
