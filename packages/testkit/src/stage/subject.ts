import type { AnyStage, Artifacts } from '@espalier/spec';

export interface StageOptions {
  /** What the stages before it gave. `dir` is a folder for files that it needs. Default: nothing. */
  input?(dir: string): Partial<Artifacts> | Promise<Partial<Artifacts>>;
  /** Default 42. */
  seed?: number;
  /** After how many reports the run is interrupted, to be resumed. Default 1. */
  interruptAfter?: number;
  /** Artifacts whose content is not the same each time (a measured time, say): looked at, not compared. */
  varying?: readonly (keyof Artifacts)[];
  /** Milliseconds in which a run must end once its signal has fired. Default 30 000. */
  patience?: number;
}

export interface StageSubject extends Required<StageOptions> {
  create(): Promise<AnyStage>;
}

/**
 * What the checks of a stage run on.
 * @example
 * await stageChecks['gives the same again'](stageSubject(() => mine()));
 */
export function stageSubject(create: AnyStage | (() => AnyStage | Promise<AnyStage>), options: StageOptions = {}): StageSubject {
  const { input = () => ({}), seed = 42, interruptAfter = 1, varying = [], patience = 30_000 } = options;
  return { create: async () => (typeof create === 'function' ? create() : create), input, seed, interruptAfter, varying, patience };
}
