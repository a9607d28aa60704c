import { EspalierError, type RewardFunction } from '@espalier/spec';
import { cosineReward, exactReward, numericReward, type AnswerOptions, type CosineOptions, type ExactOptions } from './answer-rewards';
import { formatReward, lengthReward, repetitionReward, type FormatOptions, type LengthOptions, type RepetitionOptions } from './shape-rewards';

/** Every reward function of this package by name: what `--reward` takes. `accuracy` is `numeric`. */
const factories: Readonly<Record<string, { options: readonly string[]; make: (options: Record<string, unknown>) => RewardFunction }>> = {
  numeric: { options: ['column', 'name'], make: (options) => numericReward(options as AnswerOptions) },
  accuracy: { options: ['column', 'name'], make: (options) => numericReward({ name: 'accuracy', ...(options as AnswerOptions) }) },
  exact: { options: ['column', 'normalize', 'name'], make: (options) => exactReward(options as ExactOptions) },
  format: { options: ['pattern', 'name'], make: (options) => formatReward(options as FormatOptions) },
  length: { options: ['maxLength', 'cache', 'name'], make: (options) => lengthReward(options as unknown as LengthOptions) },
  repetition: { options: ['ngramSize', 'maxPenalty', 'name'], make: (options) => repetitionReward(options as RepetitionOptions) },
  cosine: { options: ['maxLength', 'minValueWrong', 'maxValueWrong', 'minValueCorrect', 'maxValueCorrect', 'name'], make: (options) => cosineReward(options as unknown as CosineOptions) },
};

export const rewardNames: readonly string[] = Object.keys(factories);

/**
 * A reward function of this package by its name, with its options. Options that come as text (from a command line) are read as numbers and booleans
 * where they look like it.
 * @throws EspalierError `not_found` for an unknown name, `bad_config` for an unknown or wrong option
 *
 * @example
 * rewardByName('length', { maxLength: 256 });
 */
export function rewardByName(name: string, options: Readonly<Record<string, unknown>> = {}): RewardFunction {
  const factory = Object.hasOwn(factories, name) ? factories[name] : undefined;
  if (!factory) throw new EspalierError('not_found', `there is no reward function "${name}"`, { fix: `one of ${rewardNames.join(', ')}` });
  const read = Object.fromEntries(
    Object.entries(options).map(([key, value]) => {
      const camel = key.replace(/_([a-z])/g, (_, c: string) => c.toUpperCase());
      if (!factory.options.includes(camel)) throw new EspalierError('bad_config', `reward function "${name}" has no option \`${key}\``, { fix: `one of ${factory.options.join(', ')}` });
      return [camel, typeof value === 'string' && !['pattern', 'name', 'column'].includes(camel) ? readText(value) : value];
    }),
  );
  return factory.make(read);
}

function readText(value: string): unknown {
  if (value === 'true' || value === 'false') return value === 'true';
  return value.trim() !== '' && Number.isFinite(Number(value)) ? Number(value) : value;
}
