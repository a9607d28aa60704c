import type { Algorithm } from './algorithm';
import type { Environment } from './environment';
import type { Judge } from './judge';
import type { Objective } from './objective';
import type { RewardFunction } from './reward';
import type { RolloutEngine } from './rollout-engine';
import type { AnyStage } from './stage';
import type { TextModel } from './text-model';
import type { Tracker } from './tracker';

/**
 * Makes a part from its options. A plugin declares what it takes (`(options: { maxLength: number }) => …`), and that type reaches whoever names the part. The options of
 * a YAML file or a command line come unchecked all the same: the part validates them itself.
 */
export type Factory<Part, Options = never> = (options: Options) => Part | Promise<Part>;

/** What a package adds to Espalier, by name. Declare one with `definePlugin`, which keeps its names and options in its type. */
export interface Plugin {
  specVersion: 'v1';
  name: string;
  rewards?: Readonly<Record<string, Factory<RewardFunction>>>;
  objectives?: Readonly<Record<string, Factory<Objective>>>;
  algorithms?: Readonly<Record<string, Factory<Algorithm>>>;
  rolloutEngines?: Readonly<Record<string, Factory<RolloutEngine>>>;
  environments?: Readonly<Record<string, Factory<Environment>>>;
  judges?: Readonly<Record<string, Factory<Judge>>>;
  textModels?: Readonly<Record<string, Factory<TextModel>>>;
  stages?: Readonly<Record<string, Factory<AnyStage>>>;
  trackers?: Readonly<Record<string, Factory<Tracker>>>;
  datasets?: Readonly<Record<string, Factory<AsyncIterable<Record<string, unknown>>>>>;
}
