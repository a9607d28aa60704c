import type { ExperienceContext, Outputs, Plugin, RewardSample, ScoredTrajectory, TokenBatch } from '@espalier/spec';
/** Uses a plugin as a host of version 1 does: reads what each contract promises, and says what came out. */
export declare function useAll(plugin: Plugin, names: {
    reward: string;
    objective: string;
    algorithm: string;
    engine: string;
    environment: string;
    judge: string;
    model: string;
    stage: string;
    dataset: string;
}, given: {
    samples: readonly RewardSample[];
    batch: TokenBatch;
    outputs: Outputs;
    groups: readonly (readonly ScoredTrajectory[])[];
    context: ExperienceContext;
}): Promise<Record<string, unknown>>;
