import { arithmeticOptions, arithmeticTask, type ArithmeticOptions } from '../arithmetic';
import { iterable, type TaskFamily, type TaskRow } from './family';

/**
 * {@link arithmeticTask} as a family. The rows of its `dataset` are written as they always were, so that files and digests stay the same: what reward checks them they
 * say in a property that is not enumerated. `generate` adds what the rows of other families say about themselves.
 */
export const arithmetic: TaskFamily<'arithmetic'> = {
  name: 'arithmetic',
  summary: 'sums, differences and products',
  levels: ['sums of two digits', 'sums of two numbers from 2 to 50', 'sums and differences of two numbers from 2 to 50', '3 operands to 99', '3 operands to 30, products too'],
  reward: 'numeric',
  options: arithmeticOptions,
  dataset(options = {}) {
    const task = arithmeticTask(options as ArithmeticOptions);
    return iterable({ ...task, row: (index) => Object.defineProperty({ ...task.row(index) }, 'reward', { value: 'numeric' }) });
  },
  generate(number, options = {}) {
    const row = arithmeticTask({ ...(options as ArithmeticOptions), size: undefined }).row(number);
    return { ...row, family: 'arithmetic', difficulty: (options.difficulty as number | undefined) ?? 2, reward: 'numeric' } as TaskRow;
  },
};
