import { checkRow, type Row, type RowOrigin } from '@espalier/data';
import { EspalierError, type Message, type TokenBatch } from '@espalier/spec';
import { encodeWhole, scoredPosition, type RowTokenizer } from './tokenizing';

/** A preference as the learner sees it. */
export interface RewardExample {
  /** Prompt and completion. */
  chosen: Int32Array;
  rejected: Int32Array;
  /** The token whose score is the reward. */
  chosenAt: number;
  rejectedAt: number;
  /** Column `margin`. */
  margin: number;
  /** Column `soft_label`: probability that `chosen` is better. Null: 1. */
  softLabel: number | null;
}

/**
 * A preference row as tokens: `chosen` and `rejected` as text or messages, with `prompt` or without. Columns besides: `margin`, by how much the chosen one
 * should be ahead; `soft_label`, the probability that it is better; TRL's `tools` and `chat_template_kwargs`.
 *
 * @returns null when one of the two is longer than `maxLength`: it is left out, as in TRL
 * @throws EspalierError `bad_data` that names file, line and field
 */
export function tokenizePair(row: Row, tokenizer: RowTokenizer, options: { maxLength: number | null; origin?: RowOrigin }): RewardExample | null {
  checkRow(row, ['preference'], options.origin);
  const margin = numberOf(row, 'margin', options.origin) ?? 0;
  const softLabel = numberOf(row, 'soft_label', options.origin);
  if (softLabel !== null && !(softLabel >= 0 && softLabel <= 1)) throw badField(options.origin, 'soft_label', softLabel, 'a probability, from 0 to 1');
  const whole = (side: 'chosen' | 'rejected'): Int32Array => {
    const [prompt, completion] = [row.prompt ?? null, row[side]] as [string | Message[] | null, string | Message[]];
    if (prompt === null) return encodeWhole(completion, tokenizer, { row });
    return encodeWhole(typeof completion === 'string' ? `${prompt as string}${completion}` : [...(prompt as Message[]), ...completion], tokenizer, { row });
  };
  const [chosen, rejected] = [whole('chosen'), whole('rejected')];
  if (chosen.length === 0 || rejected.length === 0 || Math.max(chosen.length, rejected.length) > (options.maxLength ?? Infinity)) return null;
  return { chosen, rejected, chosenAt: scoredPosition(chosen, tokenizer.padTokenId), rejectedAt: scoredPosition(rejected, tokenizer.padTokenId), margin, softLabel };
}

/**
 * Pairs as one ragged batch, nothing padded: what both of a pair begin with is stored and computed once, and each has one action, the token whose score is
 * its reward.
 * @throws EspalierError `bad_data` for no pairs
 */
export function packPairs(examples: readonly RewardExample[]): TokenBatch {
  if (examples.length === 0) throw new EspalierError('bad_data', 'a batch of no pairs has nothing to train on', { fix: 'at least one pair whose texts fit `max_length`' });
  const tokens: number[] = [];
  const offsets = [0];
  const prefixOf: number[] = [];
  const actionIndex: number[] = [];
  const pairs: number[] = [];
  const push = (part: Int32Array, prefix: number): number => {
    for (const token of part) tokens.push(token);
    offsets.push(tokens.length);
    return prefixOf.push(prefix) - 1;
  };
  for (const { chosen, rejected, chosenAt, rejectedAt } of examples) {
    // Both scores are read after the shared part.
    const most = Math.min(chosenAt, rejectedAt);
    let shared = 0;
    while (shared < most && chosen[shared] === rejected[shared]) shared++;
    const prefix = shared > 0 ? push(chosen.subarray(0, shared), -1) : -1;
    for (const [sequence, at] of [[chosen, chosenAt], [rejected, rejectedAt]] as const) {
      actionIndex.push(tokens.length + at - shared);
      pairs.push(push(sequence.subarray(shared), prefix));
    }
  }
  const columns: TokenBatch['columns'] = {};
  const spread = (of: (example: RewardExample) => number) => Float32Array.from(examples.flatMap((example) => [of(example), of(example)]));
  if (examples.some(({ margin }) => margin !== 0)) columns.margins = spread(({ margin }) => margin);
  if (examples.some(({ softLabel }) => softLabel !== null)) columns.labels = spread(({ softLabel }) => softLabel ?? 1);
  return {
    tokens: Int32Array.from(tokens),
    offsets: Int32Array.from(offsets),
    prefixOf: Int32Array.from(prefixOf),
    actionIndex: Int32Array.from(actionIndex),
    columns,
    pairs: Int32Array.from(pairs),
    normalizer: { tokens: actionIndex.length, sequences: 2 * examples.length },
  };
}

function numberOf(row: Row, field: string, origin: RowOrigin | undefined): number | null {
  const value = row[field];
  if (value === undefined || value === null) return null;
  if (typeof value !== 'number' || !Number.isFinite(value)) throw badField(origin, field, value, 'a number');
  return value;
}

function badField({ file, line }: RowOrigin = {}, field: string, value: unknown, fix: string): EspalierError {
  const place = file === undefined ? 'row' : line === undefined ? file : `${file}:${line}`;
  return new EspalierError('bad_data', `${place}: \`${field}\` is ${JSON.stringify(value)?.slice(0, 80)}`, { fix });
}
