import { actionRows, gather, rowsOf, rowLengths, type Rows, type Vector } from '@espalier/objectives';
import { EspalierError, type OutputName, type Outputs, type TokenBatch } from '@espalier/spec';

/** The actions of one side of all pairs: which ones, and as rows. */
export interface Side {
  index: Int32Array; // [actions of the side]
  rows: Rows;
  lengths: Float64Array; // [P]
  /** The side's part of a column or an output on the tape. */
  of(values: Vector): Vector;
}

/** The actions of a batch by pair: those of what was chosen, of what was rejected, and all others (prompts). */
export interface PairRows {
  pairs: number;
  chosen: Side;
  rejected: Side;
  others: Int32Array;
}

/** @throws EspalierError `bad_data` when the batch has no pairs, or a sequence of a pair is another's prefix */
export function pairRows(batch: TokenBatch): PairRows {
  if (!batch.pairs) throw new EspalierError('bad_data', 'the batch has no `pairs`', { fix: 'chosen and rejected sequences one after another' });
  const rows = actionRows(batch);
  const rowOf = new Map(Array.from(rows.sequences, (sequence, r) => [sequence, r]));
  const taken = new Uint8Array(rows.size);
  const side = (which: 0 | 1): Side => {
    const index: number[] = [];
    const lengths: number[] = [];
    for (let p = which; p < batch.pairs!.length; p += 2) {
      const r = rowOf.get(batch.pairs![p]);
      if (r === undefined) throw new EspalierError('bad_data', `pair ${(p - which) / 2} names sequence ${batch.pairs![p]}, which is the prefix of others`);
      lengths.push(rows.offsets[r + 1] - rows.offsets[r]);
      for (let a = rows.offsets[r]; a < rows.offsets[r + 1]; a++) {
        index.push(a);
        taken[a] = 1;
      }
    }
    const of = rowsOf(lengths);
    return { index: Int32Array.from(index), rows: of, lengths: rowLengths(of), of: (values) => gather(values, index) };
  };
  const [chosen, rejected] = [side(0), side(1)];
  return { pairs: batch.pairs.length / 2, chosen, rejected, others: Int32Array.from(taken.keys()).filter((a) => !taken[a]) };
}

/**
 * An output of the learner, one finite number an action.
 * @throws EspalierError `internal`
 */
export function output(outputs: Outputs, name: OutputName, batch: TokenBatch): Float32Array {
  const values = outputs[name];
  if (!values || values.length !== batch.actionIndex.length) throw new EspalierError('internal', `the learner gave ${values ? values.length : 'no'} ${name} for ${batch.actionIndex.length} actions`);
  const bad = values.findIndex((v) => !Number.isFinite(v));
  if (bad >= 0) throw new EspalierError('internal', `${name}[${bad}] of the policy is ${values[bad]}: its weights have diverged`, { fix: 'resume from an earlier checkpoint with a lower `learning_rate`' });
  return values;
}

/** A column of the batch. @throws EspalierError `bad_data` when it is missing */
export function column(batch: TokenBatch, name: string): Float32Array {
  const values = batch.columns[name];
  if (!values) throw new EspalierError('bad_data', `the batch has no column \`${name}\``, { fix: `it has ${Object.keys(batch.columns).join(', ') || 'none'}` });
  return values;
}
