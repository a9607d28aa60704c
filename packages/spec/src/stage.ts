import type { Notice } from './tracker';

/** A model on disk that a stage made or was given. */
export interface PolicyHandle { kind: 'policy'; path: string; digest: string }
export interface RowsHandle { kind: 'rows'; path: string; digest: string; count: number }
export interface MetricsHandle { kind: 'metrics'; path: string; values: Readonly<Record<string, number>> }
export interface RewardHandle { kind: 'reward'; path: string; digest: string }

/** What stages hand to one another: named, content-hashed, serialisable. */
export interface Artifacts {
  policy: PolicyHandle;
  reference: PolicyHandle;
  reward: RewardHandle;
  rows: RowsHandle;
  metrics: MetricsHandle;
}

export interface StageContext {
  /** A folder of this stage's own inside the run. */
  dir: string;
  seed: number;
  signal?: AbortSignal;
  /** Continue what an interrupted run left in `dir`. */
  resume: boolean;
  report(event: { stage: string; step: number; total: number; metrics: Readonly<Record<string, number>> }): void;
  /** Something to be said, once: a warning of a training run. */
  notice?(event: { stage: string } & Notice): void;
}

/**
 * A step of a pipeline: what it needs, what it gives. A stage whose name is known when it is compiled keeps it in its type, so that an error of the compiler can
 * name it.
 */
export interface Stage<Needs extends Partial<Artifacts> = Partial<Artifacts>, Gives extends Partial<Artifacts> = Partial<Artifacts>, Name extends string = string> {
  specVersion: 'v1';
  name: Name;
  needs: readonly (keyof Needs & keyof Artifacts)[];
  gives: readonly (keyof Gives & keyof Artifacts)[];
  run(input: Needs, context: StageContext): Promise<Gives>;
}

/** Any stage, whatever it needs and gives. */
export interface AnyStage {
  specVersion: 'v1';
  name: string;
  needs: readonly (keyof Artifacts)[];
  gives: readonly (keyof Artifacts)[];
  run(input: never, context: StageContext): Promise<Partial<Artifacts>>;
}
