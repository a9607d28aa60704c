import { parseArguments } from '@espalier/trainer';
import { z } from 'zod';

const count = z.int().positive();
const optional = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined);
const share = z.number().min(0).max(1);

/** The fields of a constitutional run. */
export const constitutionalConfig = z.strictObject({
  /** Folder of the run. Default: a new one, `runs/constitutional-<time>`. */
  outputDir: z.string().min(1).optional(),
  /** Start over in a folder that holds a run already: its rows are made again. */
  overwriteOutputDir: z.boolean().default(false),
  /** `true`: go on with what the folder holds; finished rows are not made again. */
  resumeFromCheckpoint: z.boolean().default(false),
  seed: z.int().min(0).max(0xffffffff).default(42),

  /** `critique`: critique and revision, which give rows for SFT; `preferences`: pairs with soft labels. */
  produce: z.array(z.enum(['critique', 'preferences'])).nonempty('at least one of critique, preferences').default(['critique', 'preferences']),
  /** `default`, or a .yaml file. */
  constitution: z.string().min(1).default('default'),
  /** Only principles with one of these tags. */
  principleTags: optional(z.array(z.string().min(1)).nonempty()),
  /** Questions as messages through the chat template, or as labelled plain text for a model that was only pre-trained. */
  promptFormat: z.enum(['chat', 'plain']).default('chat'),
  /** Of the constitution's examples, how many stand before a question. Default: all. */
  fewShot: optional(z.int().min(0)),
  /** Rows that are worked on together. No result depends on it. */
  batchSize: count.default(16),

  // Sampling
  temperature: z.number().positive('two answers would be the same').default(1),
  maxCompletionLength: count.default(256),

  // Critique and revision
  /** Rounds, each by another principle. Default 4, or as many as there are principles. */
  numRevisions: optional(count),
  maxCritiqueLength: count.default(128),
  maxRevisionLength: count.default(256),
  skipCritique: z.boolean().default(false),
  /** Rows from the revisions of all rounds, or of the last one. */
  keepRevisions: z.enum(['all', 'last']).default('all'),
  /** Rows for the model's first answers as well. */
  keepInitial: z.boolean().default(false),

  // Preferences
  /** What a pair is: two `samples` of the policy (RL-CAI), or its answer and the `revisions` of it by the critic. */
  pairs: z.enum(['samples', 'revisions']).default('samples'),
  pairsPerPrompt: count.default(1),
  principlesPerLabel: count.default(1),
  orders: z.enum(['both', 'random']).default('both'),
  chainOfThought: z.boolean().default(false),
  maxReasoningLength: count.default(128),
  /** Range of the labels. Default: [0.4, 0.6] with chain of thought, else none. */
  labelClamp: optional(z.tuple([share, share]).refine(([low, high]) => low <= high, 'the lower end stands first')),
  /** `soft`: rows carry the judge's probability; `hard`: which answer is better, and no more. */
  labels: z.enum(['soft', 'hard']).default('soft'),
  /** Pairs whose probability is nearer to 0.5 than this give no row. */
  labelMargin: z.number().min(0).max(0.5).default(0),
  /** Below this probability of both letters together an answer counts as unreadable. 0: never. */
  minOptionMass: share.default(0),

  // The judge and critic
  /** Keep its answers, by content, in `cacheDir`. */
  cacheJudge: z.boolean().default(true),
  /** Default: `cache` in the run's folder. */
  cacheDir: z.string().min(1).optional(),
  /** Write its questions and answers to `judge.jsonl`. */
  logJudge: z.boolean().default(true),
  requestsPerMinute: optional(z.number().positive()),
  maxConcurrency: optional(count),
  maxRequests: optional(count),
});

/** {@link constitutionalConfig} after validation. */
export type ConstitutionalConfig = z.output<typeof constitutionalConfig>;
/** As a user writes it: every field may be left out. */
export type ConstitutionalConfigInput = z.input<typeof constitutionalConfig>;

/**
 * Validates a configuration.
 * @throws EspalierError `bad_config` that names every wrong field
 */
export function parseConstitutionalConfig(input: ConstitutionalConfigInput = {}): ConstitutionalConfig {
  return parseArguments(constitutionalConfig, input, 'constitutional');
}
