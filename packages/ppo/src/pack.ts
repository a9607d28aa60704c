import { EspalierError, type ScoredTrajectory, type TokenBatch } from '@espalier/spec';

/** A trajectory in a batch: its actions are `[start, end)` of `actionIndex`, its sampled tokens stand at `positions` of its own tokens. */
export interface PackedRow {
  trajectory: ScoredTrajectory;
  start: number;
  end: number;
  positions: readonly number[];
}

/** Places of the sampled tokens. */
export function sampledPositions({ trainable }: ScoredTrajectory): number[] {
  const positions: number[] = [];
  trainable.forEach((flag, t) => {
    if (flag) positions.push(t);
  });
  return positions;
}

/** How many leading tokens all trajectories of a group share, none of them sampled. */
function sharedLength(group: readonly ScoredTrajectory[]): number {
  let length = Math.min(...group.map(({ trainable, tokens }) => (trainable.indexOf(1) < 0 ? tokens.length : trainable.indexOf(1))));
  for (const { tokens } of group) {
    let same = 0;
    while (same < length && tokens[same] === group[0].tokens[same]) same++;
    length = same;
  }
  return length;
}

/**
 * Packs groups into a batch: the prompt of a group is one sequence, computed once, every completion a sequence that continues it, every sampled token an action.
 * Trajectories without a sampled token are left out.
 * @throws EspalierError `bad_data` for a trajectory that begins with a sampled token
 */
export function packGroups(groups: readonly (readonly ScoredTrajectory[])[]): { batch: TokenBatch; rows: PackedRow[] } {
  const tokens: number[] = [];
  const offsets = [0];
  const prefixOf: number[] = [];
  const actionIndex: number[] = [];
  const rows: PackedRow[] = [];
  for (const all of groups) {
    const group = all.filter((trajectory) => trajectory.trainable.includes(1));
    if (group.length === 0) continue;
    const shared = group.length > 1 ? sharedLength(group) : 0;
    const prefix = shared > 0 ? offsets.length - 1 : -1;
    if (shared > 0) {
      for (let t = 0; t < shared; t++) tokens.push(group[0].tokens[t]);
      offsets.push(tokens.length);
      prefixOf.push(-1);
    }
    for (const trajectory of group) {
      const positions = sampledPositions(trajectory);
      if (positions[0] === 0) throw new EspalierError('bad_data', `trajectory ${trajectory.id} begins with a sampled token`, { fix: 'a prompt of at least one token' });
      const start = actionIndex.length;
      for (const t of positions) actionIndex.push(tokens.length + t - shared);
      for (let t = shared; t < trajectory.tokens.length; t++) tokens.push(trajectory.tokens[t]);
      offsets.push(tokens.length);
      prefixOf.push(prefix);
      rows.push({ trajectory, start, end: actionIndex.length, positions });
    }
  }
  const batch: TokenBatch = {
    tokens: Int32Array.from(tokens),
    offsets: Int32Array.from(offsets),
    prefixOf: Int32Array.from(prefixOf),
    actionIndex: Int32Array.from(actionIndex),
    columns: {},
    normalizer: { tokens: actionIndex.length, sequences: rows.length },
  };
  return { batch, rows };
}
