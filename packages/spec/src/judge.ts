import type { Message } from './trajectory';

/** Two answers to one prompt, to be compared. */
export interface Comparison {
  prompt: string | readonly Message[];
  first: string;
  second: string;
  /** What to compare by: a principle's preference question. A judge without it has one of its own. */
  question?: string;
  /** Of whatever the judge samples. */
  seed?: number;
}

/** How likely a judge holds it that `first` is the better answer. */
export interface Preference {
  /** From 0 (`second`, surely) to 1 (`first`, surely). */
  probability: number;
  /** How it came about, as plain JSON: readings, reasoning … */
  details?: Record<string, unknown>;
}

/** Compares answers. `null`: the judge's answer could not be read; the pair is excluded and counted, never a draw. */
export interface Judge {
  specVersion: 'v1';
  name: string;
  compare(question: Comparison, options?: { signal?: AbortSignal }): Promise<Preference | null>;
  /** Many at once, in their order, where that is cheaper. */
  compareAll?(questions: readonly Comparison[], options?: { signal?: AbortSignal }): Promise<readonly (Preference | null)[]>;
}
