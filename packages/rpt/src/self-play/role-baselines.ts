import type { Json } from '@espalier/trainer';

export type Role = 'proposer' | 'solver';

/**
 * A moving average of the rewards of each role: role-conditioned advantage estimation (RAE, SPIRAL, 2506.24119, §3). In a zero-sum game the mean of a group says nothing of
 * a role, for what one wins the other loses; its own past does. b ← decay · b + (1 − decay) · mean reward of the round, then A = r − b. The first round sets b.
 */
export class RoleBaselines {
  private readonly means = new Map<Role, number>();

  constructor(private readonly decay: number) {}

  /** Advantages of a role's rewards of one round. Moves its average. */
  advantages(role: Role, rewards: readonly number[]): number[] {
    if (rewards.length === 0) return [];
    const mean = rewards.reduce((a, b) => a + b, 0) / rewards.length;
    const before = this.means.get(role);
    const baseline = before === undefined ? mean : this.decay * before + (1 - this.decay) * mean;
    this.means.set(role, baseline);
    return rewards.map((reward) => reward - baseline);
  }

  state(): Json {
    return Object.fromEntries(this.means);
  }

  restore(state: Json): void {
    this.means.clear();
    for (const [role, mean] of Object.entries(state as Record<string, number>)) this.means.set(role as Role, mean);
  }
}
