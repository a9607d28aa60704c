import { EspalierError } from '@espalier/spec';
import { rowMean, rowSum, type Rows } from './rows';
import { div, sum } from './vector-ops';
import type { Vector, VectorLike } from './vector';

/** Sizes of the whole optimiser step, whatever part of it is at hand: contributions of parts then add up to the step's loss. */
export interface Normalizer {
  tokens: number;
  sequences: number;
}

/**
 * How per-token losses become one number. Names are those of the loss types that brought them.
 *
 * - `grpo`: mean over sequences of each sequence's token mean
 * - `bnpo`, `dapo`: sum over tokens / tokens of the step
 * - `dr_grpo`: sum over tokens / (sequences of the step × maxCompletionLength): no bias by length
 * - `luspo`: mean over sequences of each sequence's token sum
 */
export const aggregations = ['grpo', 'bnpo', 'dapo', 'dr_grpo', 'luspo'] as const;
export type Aggregation = (typeof aggregations)[number];

/**
 * This part's contribution to the loss of the step, as a scalar on the tape. Empty rows contribute 0 (they still count in `normalizer`).
 *
 * TRL takes `bnpo` over the local micro-batch; here it is over the step, so that splitting a batch changes nothing (equal where TRL does not split).
 *
 * @param perToken [A], aligned with `rows`
 * @throws EspalierError `bad_config` for an unknown name, or `dr_grpo` without `maxCompletionLength`
 */
export function aggregate(perToken: VectorLike, rows: Rows, aggregation: Aggregation, normalizer: Normalizer, options: { maxCompletionLength?: number } = {}): Vector {
  const sequences = Math.max(normalizer.sequences, 1);
  const tokens = Math.max(normalizer.tokens, 1);
  switch (aggregation) {
    case 'grpo':
      return div(sum(rowMean(perToken, rows)), sequences);
    case 'luspo':
      return div(sum(rowSum(perToken, rows)), sequences);
    case 'bnpo':
    case 'dapo':
      return div(sum(perToken), tokens);
    case 'dr_grpo': {
      const length = options.maxCompletionLength;
      if (!(length !== undefined && length > 0)) {
        throw new EspalierError('bad_config', `\`loss_type\` dr_grpo divides by \`max_completion_length\`, which is ${length ?? 'not set'}`, { fix: 'the length that generation is limited to' });
      }
      return div(sum(perToken), sequences * length);
    }
    default:
      throw new EspalierError('bad_config', `${JSON.stringify(aggregation)} is no aggregation`, { fix: `one of ${aggregations.join(', ')}` });
  }
}
