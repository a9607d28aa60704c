import { EspalierError } from '@espalier/spec';
import { OfflineTrainer, type OfflineTrainerOptions, type Policy } from '@espalier/trainer';
import { parseDistillationConfig, parseDistillConfig, type DistillationConfigInput, type DistillConfig, type DistillConfigInput } from './config';
import { generateCompletions, type SamplingFilters } from './generate';
import { distillObjective } from './objective';
import { packSequences, prepareRow, type DistillRow } from './rows';

/** What {@link DistillTrainer} takes. */
export interface DistillTrainerOptions extends OfflineTrainerOptions {
  /**
   * The teacher: a folder, a `.gguf` or `.safetensors` file, a hub id. Its tokens must mean what the student's do. Left out when `model` is an engine that was
   * opened with one, or `args.teacherModelNameOrPath` says it.
   */
  teacherModel?: string;
  /** TRL's `GKDConfig` in camelCase. */
  args?: DistillConfigInput;
}

/** The longest sequence that both models can take. */
function positionsOf({ engine }: Policy): number {
  const { maxPositions, teacher } = engine.info;
  if (!teacher) throw new EspalierError('bad_config', 'the engine has no teacher to distil from', { fix: 'open it with `teacher`, or give the trainer the model by name and `teacherModel`' });
  return Math.min(maxPositions, teacher.maxPositions);
}

class DistillRun extends OfflineTrainer<DistillRow> {
  constructor(name: string, options: OfflineTrainerOptions & { teacherModel?: string }, args: DistillConfig, more: { filters?: SamplingFilters; entropy?: boolean } = {}) {
    const { filters, entropy } = more;
    const { lmbda, seqKd, beta, divergenceTemperature, maxNewTokens } = args;
    const teacher = options.teacherModel ?? args.teacherModelNameOrPath;
    if (typeof options.model === 'string' && teacher === undefined) throw new EspalierError('bad_config', 'there is no `teacherModel` to distil from', { fix: 'a folder, a file or a hub id; in the configuration: `teacher_model_name_or_path`' });
    if (typeof options.model !== 'string' && teacher !== undefined) throw new EspalierError('bad_config', 'a `teacherModel` was given beside an engine that is open already', { fix: 'open the engine with `teacher`, and leave it out here' });
    const generates = lmbda > 0 || seqKd;
    super(options, {
      name,
      args,
      engine: { teacher },
      shuffle: args.shuffleDataset,
      objective: distillObjective({ beta, temperature: divergenceTemperature, entropy }),
      prepare(row, policy, origin) {
        const { engine } = policy;
        const { tokenizer } = engine;
        const positions = positionsOf(policy);
        return prepareRow(
          row,
          { encode: (text, how) => tokenizer.encode(text, how), applyChatTemplate: (messages, how) => tokenizer.applyChatTemplate(messages, how), eosTokenId: tokenizer.eosTokenId ?? engine.info.eosTokenIds[0] ?? null },
          { maxLength: Math.min(args.maxLength ?? positions, positions), positions, maxNewTokens: generates ? maxNewTokens : null, completionNeeded: lmbda < 1 && !seqKd, origin },
        );
      },
      collate: (rows) => packSequences(rows.flatMap(({ example }) => (example ? [example] : []))),
      generate: (policy) => generateCompletions(policy, { ...args, filters }),
      config: ({ engine }) => ({ teacher: { parameters: engine.info.teacher?.parameterCount ?? null }, ...(filters && { sampling: { ...filters } }) }),
    });
  }
}

/**
 * Distillation from a larger model of the same vocabulary by the generalised Jensen-Shannon divergence (GKD, 2306.13649), with TRL's vocabulary: on the student's
 * own completions for a share `lmbda` of the rows, on the rows' completions (with `seqKd` the teacher's) for the rest. Rows: `prompt` and `completion`,
 * `messages`, or prompts alone where no row is trained on with its own. The models are opened by the first call that needs them and closed by `close()`.
 *
 * @throws EspalierError `bad_config` that names every wrong field
 *
 * @example
 * const trainer = new DistillTrainer({ model: 'small', teacherModel: 'large', trainDataset: 'train.jsonl', evalDataset: 'held-out.jsonl', args: { lmbda: 0.5, beta: 0.5, maxNewTokens: 64 } });
 * await trainer.train();
 * console.log((await trainer.evaluate()).loss); // mean divergence from the teacher, nats a token
 * await trainer.close();
 */
export class DistillTrainer extends DistillRun {
  constructor(options: DistillTrainerOptions) {
    super('distill', options, parseDistillConfig(options.args));
  }
}

/** TRL's name of {@link DistillTrainer}. */
export { DistillTrainer as GKDTrainer };
export type { DistillTrainerOptions as GKDTrainerOptions };

/** What {@link DistillationTrainer} takes. */
export interface DistillationTrainerOptions extends Omit<DistillTrainerOptions, 'args'> {
  /** TRL's `DistillationConfig` in camelCase. */
  args?: DistillationConfigInput;
}

/**
 * Fully on-policy distillation with the options and defaults of TRL's `DistillationTrainer`: rows are prompts, each step is on completions of the student, the
 * divergence is the reverse KL, at the temperature of sampling. The same as {@link DistillTrainer} with `lmbda` 1.
 *
 * @throws EspalierError `bad_config` that names every wrong field
 */
export class DistillationTrainer extends DistillRun {
  constructor(options: DistillationTrainerOptions) {
    const { maxCompletionLength, topP, topK, minP, repetitionPenalty, ...shared } = parseDistillationConfig(options.args);
    const args = parseDistillConfig({ ...shared, maxNewTokens: maxCompletionLength, lmbda: 1, maxLength: null, divergenceTemperature: shared.temperature });
    super('distillation', options, args, { filters: { topP, topK, minP, repetitionPenalty }, entropy: true });
  }
}
