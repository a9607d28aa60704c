import type { ScoredTrajectory, TokenBatch } from '@espalier/spec';

/** Groups as a batch without columns: the prompt of a group once, every sampled token an action. `owner[a]` is the trajectory of action `a`. */
export function packTrajectories(groups: readonly (readonly ScoredTrajectory[])[]): { batch: TokenBatch; owner: ScoredTrajectory[] } {
  const tokens: number[] = [];
  const offsets = [0];
  const prefixOf: number[] = [];
  const actions: number[] = [];
  const owner: ScoredTrajectory[] = [];
  const close = (prefix: number) => {
    offsets.push(tokens.length);
    prefixOf.push(prefix);
  };
  for (const group of groups) {
    const shared = commonPrompt(group);
    const prefix = shared > 0 ? offsets.length - 1 : -1;
    if (shared > 0) {
      for (const token of group[0].tokens.subarray(0, shared)) tokens.push(token);
      close(-1);
    }
    for (const trajectory of group) {
      if (trajectory.tokens.length === shared) continue; // nothing was sampled
      for (let t = shared; t < trajectory.tokens.length; t++) {
        if (trajectory.trainable[t] && t > 0) {
          actions.push(tokens.length);
          owner.push(trajectory);
        }
        tokens.push(trajectory.tokens[t]);
      }
      close(prefix);
    }
  }
  const batch: TokenBatch = {
    tokens: Int32Array.from(tokens),
    offsets: Int32Array.from(offsets),
    prefixOf: Int32Array.from(prefixOf),
    actionIndex: Int32Array.from(actions),
    columns: {},
    normalizer: { tokens: actions.length, sequences: groups.reduce((n, group) => n + group.length, 0) },
  };
  return { batch, owner };
}

/** Leading tokens that all trajectories share, none of them sampled. */
function commonPrompt(group: readonly ScoredTrajectory[]): number {
  let length = Math.min(...group.map(({ tokens, trainable }) => (trainable.indexOf(1) < 0 ? tokens.length : trainable.indexOf(1))));
  for (const { tokens } of group) {
    let same = 0;
    while (same < length && tokens[same] === group[0].tokens[same]) same++;
    length = same;
  }
  return length;
}
