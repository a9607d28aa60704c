import { EspalierError } from '@espalier/spec';
import { z } from 'zod';
import { datasetOf, type Dataset } from '../dataset';
import { hash32, Random } from '../random';
import type { Row } from '../rows';

/** A problem as a family draws it. */
export interface Problem {
  question: string;
  answer: string;
  /**
   * The same for problems that count as one: those that differ in the order of a sum, in names, in wording. What is in `train` is never in `held_out` goes by it.
   * Default: the question.
   */
  identity?: string;
  /** Further columns of the row, for the reward: `choices`, `numbers`. */
  columns?: Readonly<Record<string, unknown>>;
}

/** A row of a task family. */
export interface TaskRow extends Row {
  prompt: string | { role: string; content: string }[];
  completion?: string | { role: string; content: string }[];
  answer: string;
  family: string;
  difficulty: number;
  /** The reward function that checks replies, by its name in `@espalier/rewards`: what `--reward task` goes by. Absent where the family has a `check` of its own. */
  reward?: string;
}

/** Problems by number, and one after another. */
export interface TaskDataset extends Dataset, AsyncIterable<Row> {}

/** Options that every family takes. */
export const commonTaskOptions = z.strictObject({
  /** 1 (easiest) to 5; the family's `levels` say what they mean. */
  difficulty: z.int().min(1).max(5).default(2),
  seed: z.int().min(0).default(0),
  /** Rows, all different. Default: no end, problems may recur. */
  size: z.int().positive().optional(),
  /** Problems are divided by a hash that depends neither on `seed` nor on `difficulty`: what is in one part is never in the other. */
  split: z.enum(['all', 'train', 'held_out']).default('all'),
  heldOutFraction: z.number().gt(0).lt(1).default(0.2),
  /** What is asked; `{question}` stands for the problem. Default: the question and how to reply. */
  template: z.string().includes('{question}', { error: 'must contain {question}' }).optional(),
  /** `messages`: a user turn; `text`: plain text. */
  format: z.enum(['messages', 'text']).default('messages'),
  /** Add the right answer as `completion`, which makes rows for supervised training. */
  withCompletion: z.boolean().default(false),
});
export type TaskOptions = z.input<typeof commonTaskOptions>;

/** What a family is made of. */
export interface TaskFamilyDefinition<Name extends string, Shape extends z.ZodRawShape> {
  /** Lower case, digits and `_`: what a reference begins with (`count_letters:difficulty=2`). */
  name: Name;
  /** What is asked, in a line. */
  summary: string;
  /** What the difficulties 1 to 5 mean. */
  levels: readonly [string, string, string, string, string];
  /** Default of the option `template`, with `{question}` in it. */
  template: string;
  /** The reward of `@espalier/rewards` that checks a reply against the row. This, or `check`. */
  reward?: string;
  /** Whether a reply is right, for families that no reward of the package checks. */
  check?(reply: string, row: TaskRow): boolean;
  /** Options beside those that all families have. */
  options?: Shape;
  /** A problem, determined by what it draws from `random`. */
  draw(random: Random, difficulty: number, options: z.output<z.ZodObject<Shape>>): Problem;
}

/** A kind of problem with one checkable answer each: what `defineTaskFamily` makes. */
export interface TaskFamily<Name extends string = string> {
  readonly name: Name;
  readonly summary: string;
  readonly levels: readonly [string, string, string, string, string];
  readonly reward?: string;
  readonly check?: (reply: string, row: TaskRow) => boolean;
  /** All options, checked by {@link TaskFamily.dataset}. */
  readonly options: z.ZodObject;
  /** Its problems. @throws EspalierError `bad_config` for a wrong option, or fewer different problems than `size` */
  dataset(options?: Readonly<Record<string, unknown>>): TaskDataset;
  /** Problem `number` of a seed and difficulty: the same as that row of the dataset. */
  generate(number: number, options?: Readonly<Record<string, unknown>>): TaskRow;
}

/** A hash of text, by its UTF-16 code units. */
export const hashText = (text: string): number => hash32(text.length, ...Array.from({ length: text.length }, (_, i) => text.charCodeAt(i)));

/**
 * A task family of your own. It has what the built-in ones have: difficulties, seeds, rows by number, `train` and `held_out` parts without overlap, templates,
 * completions for supervised training; it goes into mixtures and curricula, and `datasetByRef(ref, { families: [yours] })` opens it by name, as does a reference to the
 * module that exports it (`./doubles.mjs:difficulty=3`). Its `dataset` is what a plugin gives as `datasets`.
 *
 * @throws EspalierError `bad_config` for a name that cannot stand in a reference, a template without `{question}`, or neither `reward` nor `check`
 * @example
 * const doubles = defineTaskFamily({
 *   name: 'doubles', summary: 'twice a number', levels: ['to 9', 'to 99', 'to 999', 'to 9999', 'to 99999'],
 *   template: '{question} Reply with the number only.', reward: 'numeric',
 *   draw: (random, difficulty) => { const n = random.int(0, 10 ** difficulty - 1); return { question: `What is twice ${n}?`, answer: String(2 * n) }; },
 * });
 * doubles.dataset({ difficulty: 3, seed: 7, split: 'train' }).row(0);
 */
export function defineTaskFamily<const Name extends string, Shape extends z.ZodRawShape = Record<never, never>>(definition: TaskFamilyDefinition<Name, Shape>): TaskFamily<Name> {
  const { name, summary, levels, reward, check } = definition;
  const wrong = (message: string, fix?: string) => new EspalierError('bad_config', `task family "${name}": ${message}`, fix === undefined ? {} : { fix });
  if (!/^[a-z][a-z0-9_]*$/.test(name)) throw wrong('its name cannot stand in a reference', 'lower case, digits and _');
  if (!definition.template.includes('{question}')) throw wrong('`template` lacks {question}');
  if ((reward === undefined) === (check === undefined)) throw wrong(reward === undefined ? 'nothing says whether a reply is right' : '`reward` and `check` are both given', '`reward`, the name of a reward function, or `check(reply, row)`');
  const schema = commonTaskOptions.extend(definition.options ?? {}) as unknown as typeof commonTaskOptions;
  const stream = hashText(name);

  function dataset(input: Readonly<Record<string, unknown>> = {}): TaskDataset {
    const parsed = schema.safeParse(input);
    if (!parsed.success) {
      const { path, message } = parsed.error.issues[0];
      throw new EspalierError('bad_config', `task ${name}: ${path.length > 0 ? `\`${path.join('.')}\`: ` : ''}${message}`);
    }
    const options = parsed.data;
    const { difficulty, seed, split, heldOutFraction, size } = options;
    const heldOut = ({ identity, question }: Problem) => hash32(hashText(identity ?? question), 0x48) / 4294967296 < heldOutFraction;
    const drawn = (random: Random, accept: (problem: Problem) => boolean, wanted: string): Problem => {
      for (let attempt = 0; attempt < 20_000; attempt++) {
        const problem = definition.draw(random, difficulty, options as never);
        if ((split === 'all' || heldOut(problem) === (split === 'held_out')) && accept(problem)) return problem;
      }
      throw new EspalierError('bad_config', `task ${name}: there are not enough different problems of difficulty ${difficulty} for ${wanted}`, { fix: 'a smaller `size`, or a higher `difficulty`' });
    };
    const toRow = ({ question, answer, columns }: Problem): TaskRow => {
      const text = (options.template ?? definition.template).split('{question}').join(question); // a question may hold $&
      const chat = options.format === 'messages';
      return {
        prompt: chat ? [{ role: 'user', content: text }] : text,
        ...(options.withCompletion ? { completion: chat ? [{ role: 'assistant', content: answer }] : answer } : {}),
        answer,
        family: name,
        difficulty,
        ...(reward === undefined ? {} : { reward }),
        ...columns,
      };
    };
    const title = split === 'all' ? name : `${name} (${split.replace('_', ' ')})`;
    if (size === undefined) return iterable({ name: title, size: Infinity, row: (index) => toRow(drawn(new Random(seed, stream, difficulty, 0xa2, index), () => true, `the split ${split}`)), origin: () => ({}) });
    const random = new Random(seed, stream, difficulty, 0xa1);
    const seen = new Set<string>();
    const rows = Array.from({ length: size }, (_, i) => {
      const problem = drawn(random, ({ question }) => !seen.has(question), `row ${i + 1} of ${size}`);
      seen.add(problem.question);
      return toRow(problem);
    });
    return iterable(datasetOf(rows, title));
  }

  return {
    name, summary, levels, options: schema, dataset,
    ...(reward === undefined ? {} : { reward }),
    ...(check === undefined ? {} : { check }),
    generate: (number, options = {}) => dataset({ ...options, size: undefined }).row(number) as TaskRow,
  };
}

/** Whether something is a task family, whichever copy of the package made it. */
export function isTaskFamily(value: unknown): value is TaskFamily {
  const { name, dataset, generate, options } = (typeof value === 'object' && value !== null ? value : {}) as Partial<TaskFamily>;
  return typeof name === 'string' && typeof dataset === 'function' && typeof generate === 'function' && typeof options === 'object';
}

/** A dataset whose rows can also be read one after another. */
export function iterable(dataset: Dataset): TaskDataset {
  return {
    ...dataset,
    async *[Symbol.asyncIterator]() {
      for (let i = 0; i < dataset.size; i++) yield dataset.row(i);
    },
  };
}
