import type { ExperienceContext, Learner, Objective, Outputs, Plugin, RewardSample, ScoredTrajectory, TokenBatch, Tracker } from '@espalier/spec';
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
/** Takes a step with a learner, with the least that each call takes. */
export declare function stepWith(learner: Learner, objective: Objective, batch: TokenBatch, dir: string): Promise<{
    before: number;
    after: number;
    norm: number;
    version: number;
}>;
/** Tells a tracker of a run, with the least that each call takes. */
export declare function tellAll(tracker: Tracker, outputDir: string): Promise<void>;
