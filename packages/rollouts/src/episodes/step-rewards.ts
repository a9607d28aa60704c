import type { Reward } from '@espalier/spec';

/** What the steps of an episode earned. */
export class StepRewards {
  private readonly steps: { reply: number; reward: Reward }[] = [];

  /** @param reply the reply that earned it, from 0 */
  add(reply: number, reward: Reward | null | undefined): void {
    if (reward !== null && reward !== undefined) this.steps.push({ reply, reward });
  }

  /**
   * The sum over the steps; null when none gave anything. Where a reply before the last one earned something it says `perToken` too, a number a sampled token: each
   * reward falls on the last token of its reply (or, where the step said `perToken` of its own, on those tokens), so that PPO knows which reply earned what.
   * @param lengths sampled tokens of each reply
   */
  total(lengths: readonly number[]): Reward | null {
    if (this.steps.length === 0) return null;
    const amount = (reward: Reward) => (typeof reward === 'number' ? reward : reward.total);
    const total = this.steps.reduce((sum, { reward }) => sum + amount(reward), 0);
    const components: Record<string, number> = {};
    const notes: string[] = [];
    for (const { reward } of this.steps) {
      if (typeof reward === 'number') continue;
      for (const [name, value] of Object.entries(reward.components ?? {})) components[name] = (components[name] ?? 0) + value;
      if (reward.note !== undefined) notes.push(reward.note);
    }
    const early = this.steps.some(({ reply, reward }) => (reply < lengths.length - 1 && amount(reward) !== 0) || (typeof reward === 'object' && reward.perToken !== undefined));
    const perToken = early ? this.perToken(lengths, amount) : undefined;
    if (perToken === undefined && Object.keys(components).length === 0 && notes.length === 0) return total;
    return { total, ...(perToken ? { perToken } : {}), ...(Object.keys(components).length > 0 ? { components } : {}), ...(notes.length > 0 ? { note: notes.join('; ') } : {}) };
  }

  private perToken(lengths: readonly number[], amount: (reward: Reward) => number): Float32Array | undefined {
    const starts = lengths.map((_, i) => lengths.slice(0, i).reduce((a, b) => a + b, 0));
    const all = lengths.reduce((a, b) => a + b, 0);
    if (all === 0) return undefined;
    const perToken = new Float32Array(all);
    for (const { reply, reward } of this.steps) {
      const own = typeof reward === 'object' ? reward.perToken : undefined;
      if (own && own.length === lengths[reply]) own.forEach((value, t) => (perToken[starts[reply] + t] += value));
      else perToken[Math.max(0, starts[reply] + lengths[reply] - 1)] += amount(reward); // a reply of no token: the one before it
    }
    return perToken;
  }
}
