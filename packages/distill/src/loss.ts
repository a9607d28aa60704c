import { EspalierError } from '@espalier/spec';
import { rowDivergence } from './divergence';

export const reductions = ['batchmean', 'sum', 'mean', 'none'] as const;
export type Reduction = (typeof reductions)[number];

/** Options of the loss, by TRL's names and with its defaults. */
export interface JSDLossOptions {
  /** Between 0 (forward KL, teacher ‖ student) and 1 (reverse KL, student ‖ teacher). Default 0.5. */
  beta?: number;
  /** Both sides' logits are divided by it. Default 1. */
  temperature?: number;
  /**
   * `batchmean`: sum over the counted positions / their number (without `labels`: / the length of the outermost array, as TRL does);
   * `sum`; `mean`: over positions and vocabulary; `none`: no reduction, a row of V numbers a counted position. Default `batchmean`.
   */
  reduction?: Reduction;
  /** Counted positions of the whole optimiser step, when these are a part of it: the sum is divided by it, whatever `reduction` says. */
  numItemsInBatch?: number;
}

/** Positions of one sequence, a row of V logits each. */
export type LogitRows = readonly ArrayLike<number>[]; // [T][V]
/** One sequence, or a batch of them; each may have any length. */
export type NestedLogits = LogitRows | readonly LogitRows[]; // [T][V] or [B][T][V]

/** A number a position: [T], or [B][T] for a batch. */
type PerPosition = ArrayLike<number> | readonly ArrayLike<number>[];

/** Inputs of {@link jsdLoss}. */
export interface JSDLossInputs {
  /** Logits, or log-probs (whose softmax at temperature 1 they are themselves). */
  studentLogits: NestedLogits;
  teacherLogits: NestedLogits;
  /** One a position; -100: not counted. Any other value counts: the tokens themselves play no part. Default: all count. */
  labels?: PerPosition;
  /** The same said otherwise: 1 counts, 0 does not. Not beside `labels`. */
  mask?: PerPosition;
}

export interface JSDLossResult<Loss = number> {
  loss: Loss;
  /** d loss / d logit (with `none`: of the sum), in the shape in which the logits came; 0 where a position is not counted. */
  grads: { studentLogits: number[][] | number[][][]; teacherLogits: number[][] | number[][][] };
  /** `jsd`: the mean divergence of the counted positions, nats; `num_tokens`: how many they are. */
  metrics: { jsd: number; num_tokens: number };
}

const bad = (message: string, fix?: string) => new EspalierError('bad_data', message, { fix });

function isBatch(logits: NestedLogits): logits is readonly LogitRows[] {
  return logits.length > 0 && logits.some((entry) => entry.length > 0 && typeof entry[0] === 'object');
}

function checkLogits(student: readonly LogitRows[], teacher: readonly LogitRows[], name: (b: number, t: number) => string): void {
  if (teacher.length !== student.length) throw bad(`\`teacherLogits\` has ${teacher.length} sequences and \`studentLogits\` has ${student.length}`, 'one of each');
  const vocabSize = student.find((rows) => rows.length > 0)?.[0].length ?? 0;
  student.forEach((rows, b) => {
    if (teacher[b].length !== rows.length) throw bad(`\`teacherLogits\` has ${teacher[b].length} positions in sequence ${b} and \`studentLogits\` has ${rows.length}`, 'one row of logits a position');
    rows.forEach((row, t) => {
      for (const [side, values] of [['studentLogits', row], ['teacherLogits', teacher[b][t]]] as const) {
        if (values.length !== vocabSize || vocabSize === 0) throw bad(`\`${side}\`${name(b, t)} has ${values.length} logits, ${vocabSize || 'at least 1'} expected`, 'student and teacher of one vocabulary');
        for (let v = 0; v < values.length; v++) if (!Number.isFinite(values[v])) throw bad(`\`${side}\`${name(b, t)}[${v}] is ${String(values[v])}`, 'a finite number; -1e9 for a token that is ruled out');
      }
    });
  });
}

/** Whether a position counts; null: all do, and nobody said which. */
function countedPositions({ labels, mask }: JSDLossInputs, batched: boolean, rows: readonly LogitRows[]): ((b: number, t: number) => boolean) | null {
  if (labels && mask) throw bad('both `labels` and `mask` say which positions count', 'one of them');
  const given = labels ?? mask;
  if (!given) return null;
  const nested = (batched ? given : [given]) as readonly ArrayLike<number>[];
  rows.forEach(({ length }, b) => {
    if (nested[b]?.length !== length) throw bad(`\`${labels ? 'labels' : 'mask'}\` has ${nested[b]?.length ?? 'no'} entries for the ${length} positions of sequence ${b}`, labels ? 'one a position; -100 where it does not count' : 'one a position; 0 where it does not count');
  });
  return labels ? (b, t) => nested[b][t] !== -100 : (b, t) => Boolean(nested[b][t]);
}

function checkOptions({ beta = 0.5, temperature = 1, reduction = 'batchmean', numItemsInBatch }: JSDLossOptions) {
  if (!(beta >= 0 && beta <= 1)) throw new EspalierError('bad_config', `\`beta\` is ${beta}`, { fix: 'a number from 0 (forward KL) to 1 (reverse KL)' });
  if (!(temperature > 0) || !Number.isFinite(temperature)) throw new EspalierError('bad_config', `\`temperature\` ${temperature} cannot divide logits`, { fix: 'a positive number would do' });
  if (!reductions.includes(reduction)) throw new EspalierError('bad_config', `\`reduction\` ${JSON.stringify(reduction)} is unknown`, { fix: `one of ${reductions.join(', ')}` });
  if (numItemsInBatch !== undefined && !(numItemsInBatch > 0)) throw new EspalierError('bad_config', `\`num_items_in_batch\` is ${numItemsInBatch}`, { fix: 'the number of counted positions of the step' });
  return { beta, temperature, reduction, numItemsInBatch };
}

/**
 * The generalised Jensen-Shannon divergence between student and teacher (2306.13649, eq. 1), in float64, with its derivatives: TRL's
 * `GKDTrainer.generalized_jsd_loss` (1.16). `beta` 0 is KL(teacher ‖ student), 1 is KL(student ‖ teacher). Logits and labels are taken as they
 * stand: whoever scores tokens shifts them first.
 *
 * @throws EspalierError `bad_data` when shapes differ or a logit is not finite, `bad_config` for an option out of its range
 *
 * @example
 * const { loss, grads } = jsdLoss({ studentLogits: [[0, 1], [2, 0]], teacherLogits: [[1, 0], [2, 1]] }, { beta: 0.5 });
 */
export function jsdLoss(inputs: JSDLossInputs, options: JSDLossOptions & { reduction: 'none' }): JSDLossResult<number[][]>;
export function jsdLoss(inputs: JSDLossInputs, options?: JSDLossOptions & { reduction?: Exclude<Reduction, 'none'> }): JSDLossResult;
export function jsdLoss(inputs: JSDLossInputs, options: JSDLossOptions = {}): JSDLossResult<number | number[][]> {
  const { beta, temperature, reduction, numItemsInBatch } = checkOptions(options);
  const batched = isBatch(inputs.studentLogits);
  const asBatch = (logits: NestedLogits) => (batched ? logits : [logits]) as readonly LogitRows[];
  const [student, teacher] = [asBatch(inputs.studentLogits), asBatch(inputs.teacherLogits)];
  checkLogits(student, teacher, (b, t) => (batched ? `[${b}][${t}]` : `[${t}]`));
  const counts = countedPositions(inputs, batched, student);

  const elements: number[][] = [];
  const zeros = (rows: LogitRows) => rows.map((row) => new Array<number>(row.length).fill(0));
  const [ofStudent, ofTeacher] = [student.map(zeros), student.map(zeros)];
  let total = 0;
  student.forEach((rows, b) =>
    rows.forEach((row, t) => {
      if (counts && !counts(b, t)) return;
      const divergence = rowDivergence(row, teacher[b][t], beta, temperature);
      elements.push(Array.from(divergence.elements));
      total += divergence.elements.reduce((x, y) => x + y, 0);
      ofStudent[b][t] = Array.from(divergence.student);
      ofTeacher[b][t] = Array.from(divergence.teacher);
    }),
  );

  const counted = elements.length;
  const divisor = numItemsInBatch ?? { batchmean: Math.max(counts ? counted : inputs.studentLogits.length, 1), sum: 1, mean: Math.max(counted * (elements[0]?.length ?? 1), 1), none: 1 }[reduction];
  const scaled = (grads: number[][][]) => {
    const result = grads.map((rows) => rows.map((row) => row.map((g) => g / divisor)));
    return batched ? result : result[0];
  };
  return {
    loss: reduction === 'none' && numItemsInBatch === undefined ? elements : total / divisor,
    grads: { studentLogits: scaled(ofStudent), teacherLogits: scaled(ofTeacher) },
    metrics: { jsd: total / Math.max(counted, 1), num_tokens: counted },
  };
}
