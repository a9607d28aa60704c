import type { Algorithm } from './algorithm';
import type { Environment } from './environment';
import type { Judge } from './judge';
import type { Objective } from './objective';
import type { RewardFunction } from './reward';
import type { RolloutEngine } from './rollout-engine';
import type { Stage } from './stage';
import type { TextModel } from './text-model';
import type { Tracker } from './tracker';

/** Makes a part from its options, which the part validates itself. */
export type Factory<Part> = (options?: Record<string, unknown>) => Part | Promise<Part>;

/** What a package adds to Espalier, by name. */
export interface Plugin {
  specVersion: 'v1';
  name: string;
  rewards?: Record<string, Factory<RewardFunction>>;
  objectives?: Record<string, Factory<Objective>>;
  algorithms?: Record<string, Factory<Algorithm>>;
  rolloutEngines?: Record<string, Factory<RolloutEngine>>;
  environments?: Record<string, Factory<Environment>>;
  judges?: Record<string, Factory<Judge>>;
  textModels?: Record<string, Factory<TextModel>>;
  stages?: Record<string, Factory<Stage>>;
  trackers?: Record<string, Factory<Tracker>>;
  datasets?: Record<string, Factory<AsyncIterable<Record<string, unknown>>>>;
}
