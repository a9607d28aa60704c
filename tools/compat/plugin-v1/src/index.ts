import { assertSpecVersion, definePlugin, exitStatus, isEspalierError, supportedVersions, type ErrorCode, type Factory, type Plugin, type RewardFunction, type SpecVersion, type Trajectory, type Turn } from '@espalier/spec';
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
export const plugin = definePlugin({
  name: 'espalier-plugin-frozen-v1',
  rewards: { echo: echoReward },
  objectives: { pull: pullObjective, pair: pairObjective },
  algorithms: { centred: centredAlgorithm },
  rolloutEngines: { counting: countingEngine },
  environments: { countdown: countdownEnvironment },
  judges: { brevity: brevityJudge },
  textModels: { parrot: parrotModel },
  stages: { sorted: sortedStage },
  trackers: { diary: diaryTracker },
  datasets: { sums: sumsDataset },
});

/** It is a plugin, and its factories are factories, to whoever reads its types. */
export const asPlugin: Plugin = plugin;
export const asFactory: Factory<RewardFunction, { penalty?: number } | undefined> = echoReward;

/** What a run of it can fail with, and how a process ends then. */
export function statusOf(error: unknown): { code: ErrorCode | 'unknown'; fix: string | undefined; status: 1 | 2 } {
  return { code: isEspalierError(error) ? error.code : 'unknown', fix: isEspalierError(error) ? error.fix : undefined, status: exitStatus(error) };
}

/** The version that it was written for is among those that are spoken. */
export function speaks(version: SpecVersion = 'v1'): boolean {
  assertSpecVersion(plugin, 'plugin');
  return (supportedVersions as readonly string[]).includes(version);
}

/** The tokens of a trajectory by who said them. */
export function turnsOf({ id, group, seed, tokens, trainable, samplerLogps, versions, turns, finishReason }: Trajectory): Record<string, number[]> {
  const said = (turn: Turn): [string, number[]] => [`${turn.role}@${turn.start}: ${turn.content}`, [...tokens.subarray(turn.start, turn.end)]];
  return { ...Object.fromEntries(turns.map(said)), [`${group}/${id} ${finishReason}`]: [seed, trainable.length, samplerLogps?.length ?? 0, versions.length] };
}
