import type { TrackedMetrics, TrackedRun, Tracker } from '@espalier/spec';

export interface TrackerOptions {
  /** Reads back what a tracker has written of the run in this folder, in its order: steps with numbers by name, as the tracker names them. Default: nothing is read back. */
  read?(outputDir: string): Promise<readonly { step: number; values: Readonly<Record<string, number>> }[]>;
  /** The tracker's name for a metric. Default: the metric's own. */
  nameOf?(metric: string, kind: TrackedMetrics['kind']): string;
  /** Makes a tracker that cannot write, with what the run is told to be: it must say so. Default: none is tried. */
  failing?(outputDir: string): { tracker: Tracker; run?: Partial<TrackedRun> } | Promise<{ tracker: Tracker; run?: Partial<TrackedRun> }>;
  /** Milliseconds in which each call must settle. Default 5000. */
  patience?: number;
}

export interface TrackerSubject extends TrackerOptions {
  /** A tracker for a run in this folder. */
  create(outputDir: string): Promise<Tracker>;
  patience: number;
}

/**
 * What the checks of a tracker run on.
 * @example
 * await trackerChecks['hears how a run failed'](trackerSubject((dir) => mine({ dir })));
 */
export function trackerSubject(create: (outputDir: string) => Tracker | Promise<Tracker>, options: TrackerOptions = {}): TrackerSubject {
  return { patience: 5000, ...options, create: async (outputDir) => create(outputDir) };
}
