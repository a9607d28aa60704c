import { EspalierError, type RewardFunction } from '@espalier/spec';
import { choiceReward, countdownReward, jsonReward, listReward, mathReward, rowReward, setReward, type ChoiceOptions, type CountdownOptions, type JsonOptions, type ListOptions, type MathOptions } from './accuracy/index';
import { cosineReward, exactReward, numericReward, type AnswerOptions, type CosineOptions, type ExactOptions } from './answer-rewards';
import { depthReward, stepsReward } from './reasoning/step-rewards';
import { thoughtReward, type ThoughtOptions } from './reasoning/thought';
import { remoteReward, type RemoteRewardOptions } from './remote/remote-reward';
import { formatReward, lengthReward, repetitionReward, type FormatOptions, type LengthOptions, type RepetitionOptions } from './shape-rewards';
import { diversityReward, type DiversityOptions } from './text/diversity-reward';
import { factualityReward, type FactualityOptions } from './text/factuality-reward';
import { languageReward, type LanguageOptions } from './text/language-reward';
import { refusalReward, type RefusalOptions } from './text/refusal-reward';
import { wordsReward, type WordsOptions } from './text/words-reward';

/** `correct` as the name of another reward function, with its own defaults: what a step or a depth counts with. */
const withCorrect = (options: Record<string, unknown>): Record<string, unknown> => (typeof options['correct'] === 'string' ? { ...options, correct: rewardByName(options['correct'], options['column'] === undefined ? {} : { column: options['column'] }) } : options);

/** Delimiters in text are separated by `|`. */
const withDelimiters = (options: Record<string, unknown>): MathOptions => (typeof options['delimiters'] === 'string' ? { ...options, delimiters: options['delimiters'].split('|') } : options);

/** Every reward function of this package by name: what `--reward` takes. `accuracy` is `numeric`. */
const factories: Readonly<Record<string, { options: readonly string[]; make: (options: Record<string, unknown>) => RewardFunction }>> = {
  numeric: { options: ['column', 'name'], make: (options) => numericReward(options as AnswerOptions) },
  accuracy: { options: ['column', 'name'], make: (options) => numericReward({ name: 'accuracy', ...(options as AnswerOptions) }) },
  exact: { options: ['column', 'normalize', 'name'], make: (options) => exactReward(options as ExactOptions) },
  math: { options: ['column', 'latexOnly', 'delimiters', 'name'], make: (options) => mathReward(withDelimiters(options)) },
  reasoning_accuracy: { options: ['column', 'latexOnly', 'delimiters', 'name'], make: (options) => mathReward({ latexOnly: true, ...withDelimiters(options), requireReasoning: true }) },
  choice: { options: ['column', 'choicesColumn', 'name'], make: (options) => choiceReward(options as ChoiceOptions) },
  list: { options: ['column', 'partial', 'name'], make: (options) => listReward(options as ListOptions) },
  set: { options: ['column', 'partial', 'name'], make: (options) => setReward(options as ListOptions) },
  json: { options: ['column', 'schema', 'schemaColumn', 'name'], make: (options) => jsonReward(options as JsonOptions) },
  countdown: { options: ['numbersColumn', 'targetColumn', 'name'], make: (options) => countdownReward(options as CountdownOptions) },
  task: { options: ['column', 'name'], make: (options) => rowReward({ ...options, resolve: (name) => rewardByName(name) }) },
  format: { options: ['pattern', 'name'], make: (options) => formatReward(options as FormatOptions) },
  length: { options: ['maxLength', 'cache', 'name'], make: (options) => lengthReward(options as unknown as LengthOptions) },
  repetition: { options: ['ngramSize', 'maxPenalty', 'name'], make: (options) => repetitionReward(options as RepetitionOptions) },
  cosine: { options: ['maxLength', 'minValueWrong', 'maxValueWrong', 'minValueCorrect', 'maxValueCorrect', 'correct', 'column', 'name'], make: (options) => cosineReward(withCorrect({ correct: 'numeric', ...options }) as unknown as CosineOptions) },
  thought: { options: ['minWords', 'name'], make: (options) => thoughtReward(options as ThoughtOptions) },
  steps: { options: ['minSteps', 'correct', 'column', 'name'], make: (options) => stepsReward(withCorrect(options)) },
  depth: { options: ['target', 'correct', 'column', 'name'], make: (options) => depthReward(withCorrect({ correct: 'numeric', ...options }) as unknown as Parameters<typeof depthReward>[0]) },
  factuality: { options: ['column', 'threshold', 'name'], make: (options) => factualityReward(options as FactualityOptions) },
  diversity: { options: ['measure', 'n', 'correct', 'column', 'name'], make: (options) => diversityReward(withCorrect(options) as DiversityOptions) },
  language: { options: ['language', 'column', 'name'], make: (options) => languageReward(options as LanguageOptions) },
  words: { options: ['forbid', 'require', 'column', 'name'], make: (options) => wordsReward(options as WordsOptions) },
  refusal: { options: ['penalty', 'column', 'name'], make: (options) => refusalReward(options as RefusalOptions) },
  remote: { options: ['url', 'apiKeyEnv', 'batchSize', 'concurrency', 'timeoutMs', 'maxRetries', 'onFailure', 'name'], make: (options) => remoteReward(options as unknown as RemoteRewardOptions) },
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
      return [camel, typeof value === 'string' && !textOptions.has(camel) ? readText(value) : value];
    }),
  );
  return factory.make(read);
}

/** Options that are text whatever they look like. */
const textOptions: ReadonlySet<string> = new Set(['pattern', 'name', 'column', 'correct', 'measure', 'language', 'forbid', 'require', 'url', 'apiKeyEnv', 'onFailure']);

function readText(value: string): unknown {
  if (value === 'true' || value === 'false') return value === 'true';
  return value.trim() !== '' && Number.isFinite(Number(value)) ? Number(value) : value;
}
