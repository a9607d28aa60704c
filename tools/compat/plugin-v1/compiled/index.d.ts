import { type ErrorCode, type Factory, type Plugin, type RewardFunction, type SpecVersion, type Trajectory } from '@espalier/spec';
import { centredAlgorithm } from './algorithm.js';
import { sumsDataset } from './dataset.js';
import { countdownEnvironment } from './environment.js';
import { brevityJudge } from './judge.js';
import { pairObjective, pullObjective } from './objectives.js';
import { echoReward } from './reward.js';
import { countingEngine } from './rollout-engine.js';
import { sortedStage } from './stages.js';
import { parrotModel } from './text-model.js';
import { diaryTracker } from './tracker.js';
export { tableLearner } from './learner.js';
export { givenStage } from './stages.js';
/** Every registration point of the contracts, version 1. */
export declare const plugin: {
    readonly name: "espalier-plugin-frozen-v1";
    readonly rewards: {
        readonly echo: typeof echoReward;
    };
    readonly objectives: {
        readonly pull: typeof pullObjective;
        readonly pair: typeof pairObjective;
    };
    readonly algorithms: {
        readonly centred: typeof centredAlgorithm;
    };
    readonly rolloutEngines: {
        readonly counting: typeof countingEngine;
    };
    readonly environments: {
        readonly countdown: typeof countdownEnvironment;
    };
    readonly judges: {
        readonly brevity: typeof brevityJudge;
    };
    readonly textModels: {
        readonly parrot: typeof parrotModel;
    };
    readonly stages: {
        readonly sorted: typeof sortedStage;
    };
    readonly trackers: {
        readonly diary: typeof diaryTracker;
    };
    readonly datasets: {
        readonly sums: typeof sumsDataset;
    };
} & {
    specVersion: "v1";
};
/** It is a plugin, and its factories are factories, to whoever reads its types. */
export declare const asPlugin: Plugin;
export declare const asFactory: Factory<RewardFunction, {
    penalty?: number;
} | undefined>;
/** What a run of it can fail with, and how a process ends then. */
export declare function statusOf(error: unknown): {
    code: ErrorCode | 'unknown';
    fix: string | undefined;
    status: 1 | 2;
};
/** The version that it was written for is among those that are spoken. */
export declare function speaks(version?: SpecVersion): boolean;
/** The tokens of a trajectory by who said them. */
export declare function turnsOf({ id, group, seed, tokens, trainable, samplerLogps, versions, turns, finishReason }: Trajectory): Record<string, number[]>;
