import type { Dataset, Row } from '@espalier/data';
import type { Algorithm } from '@espalier/spec';
import { weightedTotal, type Json, type OwningAlgorithm, type StatefulAlgorithm, type TrainerCallback } from '@espalier/trainer';

/** Rows that are chosen as training goes: `curriculum()` of `@espalier/data` is one. */
export interface RowCurriculum {
  /** The next rows: they follow from its state alone. */
  next(count: number): readonly Row[];
  /** What a completion of a row earned; null: nothing scored it. */
  observe(row: Readonly<Record<string, unknown>>, reward: number | null): void;
  state(): unknown;
  restore(state: unknown): void;
}

/** Rows that stand for a curriculum's before training begins: a run is told from another by them. */
const shown = 256;

/**
 * A curriculum as rows without end. Until `begin` is called, rows are those that it would give first; from then on each row that is asked for is its next.
 */
export function curriculumDataset(curriculum: RowCurriculum): { dataset: Dataset; begin: TrainerCallback } {
  const first = structuredClone(curriculum.state());
  const preview = curriculum.next(shown);
  curriculum.restore(first);
  let begun = false;
  const row = (index: number): Row => (begun ? curriculum.next(1)[0] : preview[index % shown]);
  return { dataset: { name: 'curriculum', size: Infinity, row, origin: () => ({}) }, begin: { onTrainBegin: () => void (begun = true) } };
}

/** An algorithm that tells a curriculum what completions earned (before any penalty). Its state holds the curriculum's. */
export function withCurriculum(algorithm: Algorithm, curriculum: RowCurriculum): OwningAlgorithm & StatefulAlgorithm {
  const inner = 'state' in algorithm && 'restore' in algorithm ? (algorithm as StatefulAlgorithm) : null;
  return {
    ...algorithm,
    async experience(groups, context) {
      for (const { row, rewards } of groups.flat()) if (row) curriculum.observe(row, weightedTotal(rewards, context.rewardWeights));
      return algorithm.experience(groups, context);
    },
    state: (): Json => ({ curriculum: structuredClone(curriculum.state()) as Json, ...(inner ? { inner: inner.state() } : {}) }),
    restore(state) {
      const saved = state as { curriculum: unknown; inner?: Json };
      curriculum.restore(saved.curriculum);
      if (inner && saved.inner !== undefined) inner.restore(saved.inner);
    },
  };
}
