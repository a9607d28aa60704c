import type { Stage, StageContext } from '@espalier/spec';
import type { StageReport } from './report';
import type { PipelineEvent } from './run-pipeline';

const mark = Symbol.for('espalier.stage.branch');
const sinkMark = Symbol.for('espalier.stage.branch.sink');

/** Where a branch tells of its stages while it runs, and leaves their reports. */
export interface BranchSink {
  onEvent(event: PipelineEvent): void;
  reports: StageReport[];
}

/** Whether a stage is a branch: it decides itself which of its stages are done already. */
export const isBranch = (stage: Stage): boolean => mark in stage;

/** The stages of a branch. */
export const stagesOf = (stage: Stage): readonly Stage[] => (stage as { [mark]?: readonly Stage[] })[mark] ?? [];

/** Marks a stage as a branch. */
export const asBranch = <S extends object>(stage: S, stages: readonly Stage[]): S => Object.assign(stage, { [mark]: stages });

/** A stage's context with a place for what a branch has to tell. */
export const withBranchSink = (context: StageContext, sink: BranchSink): StageContext => Object.assign(context, { [sinkMark]: sink });

/** The place that `runPipeline` has left in a context; none where somebody else runs the stage. */
export const branchSinkOf = (context: StageContext): BranchSink | undefined => (context as { [sinkMark]?: BranchSink })[sinkMark];
