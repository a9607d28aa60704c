import type { Algorithm } from './algorithm';
import type { Environment } from './environment';
import type { Judge } from './judge';
import type { Objective } from './objective';
import type { Plugin } from './plugin';
import type { RewardFunction } from './reward';
import type { RolloutEngine } from './rollout-engine';
import type { Artifacts, Stage } from './stage';
import type { Tracker } from './tracker';

/**
 * Declares a reward function; `specVersion` is filled in.
 * @example
 * const short = defineReward({ name: 'short', score: async (samples) => samples.map((s) => -s.completion.length / 100) });
 */
export function defineReward<Row = Record<string, unknown>>(reward: Omit<RewardFunction<Row>, 'specVersion'>): RewardFunction<Row> {
  return { specVersion: 'v1', ...reward };
}

/** Declares an objective; `specVersion` is filled in. */
export function defineObjective(objective: Omit<Objective, 'specVersion'>): Objective {
  return { specVersion: 'v1', ...objective };
}

/** Declares an algorithm; `specVersion` is filled in. */
export function defineAlgorithm(algorithm: Omit<Algorithm, 'specVersion'>): Algorithm {
  return { specVersion: 'v1', ...algorithm };
}

/** Declares an environment; `specVersion` is filled in. One object has one episode at a time, so a plugin's factory makes a new one each time. */
export function defineEnvironment<Row = Record<string, unknown>>(environment: Omit<Environment<Row>, 'specVersion'>): Environment<Row> {
  return { specVersion: 'v1', ...environment };
}

/** Declares a rollout engine; `specVersion` is filled in. */
export function defineRolloutEngine(engine: Omit<RolloutEngine, 'specVersion'>): RolloutEngine {
  return { specVersion: 'v1', ...engine };
}

/** Declares a judge; `specVersion` is filled in. */
export function defineJudge(judge: Omit<Judge, 'specVersion'>): Judge {
  return { specVersion: 'v1', ...judge };
}

/**
 * Declares a stage; `specVersion` is filled in, and what it needs and gives is kept in its type.
 * @example
 * const measure = defineStage<{ policy: PolicyHandle }, { metrics: MetricsHandle }, 'measure'>({ name: 'measure', needs: ['policy'], gives: ['metrics'], run: async ({ policy }, { dir }) => … });
 */
export function defineStage<Needs extends Partial<Artifacts>, Gives extends Partial<Artifacts>, Name extends string = string>(stage: Omit<Stage<Needs, Gives, Name>, 'specVersion'>): Stage<Needs, Gives, Name> {
  return { specVersion: 'v1', ...stage };
}

/** Declares a tracker; `specVersion` is filled in. */
export function defineTracker(tracker: Omit<Tracker, 'specVersion'>): Tracker {
  return { specVersion: 'v1', ...tracker };
}

/**
 * Declares a plugin; `specVersion` is filled in. The names of its parts and the options that they take are kept in its type, and reach whoever registers it.
 * @example
 * export const plugin = definePlugin({ name: 'espalier-plugin-brevity', rewards: { brevity: (options: { maxLength: number }) => brevity(options) } });
 */
export function definePlugin<const P extends Omit<Plugin, 'specVersion'>>(plugin: P): P & { specVersion: 'v1' } {
  return { specVersion: 'v1', ...plugin };
}
