/** Prompts that begin alike: the first `length` tokens of all `members` are the same. */
export interface SharedPrefix {
  /** In tokens; 0 where a prompt shares nothing. */
  length: number;
  /** Index of each prompt, in the order in which it was added. */
  members: number[];
}

/** Beginnings shorter than this are computed again: a chat template's header is not worth a sequence of its own. */
export const shortestShared = 64;

/**
 * Finds which prompts begin alike, so that what they share is computed once: the examples of a judge, the system prompt of a chat. A prompt joins the
 * group with which it saves most; of each, its last token stays its own, for that is what predicts.
 * @example
 * const shared = new SharedPrefixes();
 * for (const prompt of prompts) shared.add(prompt);
 * shared.groups; // [{ length: 420, members: [0, 1, 2] }, { length: 0, members: [3] }]
 */
export class SharedPrefixes {
  readonly groups: SharedPrefix[] = [];
  private readonly prompts: Int32Array[] = [];

  /** Tokens that must be computed for one more prompt. */
  cost(prompt: Int32Array): number {
    return prompt.length - this.best(prompt).saved;
  }

  /** Adds a prompt and returns its index. */
  add(prompt: Int32Array): number {
    const { group, length } = this.best(prompt);
    const index = this.prompts.push(prompt) - 1;
    if (group) {
      group.length = length;
      group.members.push(index);
    } else this.groups.push({ length: 0, members: [index] });
    return index;
  }

  private best(prompt: Int32Array): { group: SharedPrefix | null; length: number; saved: number } {
    let best: { group: SharedPrefix | null; length: number; saved: number } = { group: null, length: 0, saved: 0 };
    for (const group of this.groups) {
      const first = this.prompts[group.members[0]];
      const known = group.length > 0 ? group.length : first.length - 1;
      const length = commonLength(prompt, first, Math.min(known, prompt.length - 1));
      // All members but one are spared the shared part; a newcomer that shares less shortens it for everyone.
      const saved = length * group.members.length - group.length * (group.members.length - 1);
      if (length >= shortestShared && saved > best.saved) best = { group, length, saved };
    }
    return best;
  }
}

/** Number of tokens at the beginning that two prompts have in common, up to a limit. */
export function commonLength(a: Int32Array, b: Int32Array, limit: number): number {
  let t = 0;
  while (t < limit && t < b.length && a[t] === b[t]) t++;
  return t;
}
