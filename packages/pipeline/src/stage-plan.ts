import type { Stage } from '@espalier/spec';
import type { PlannedModel, RunPlan } from '@espalier/trainer';

const mark = Symbol.for('espalier.stage.plan');

/** What a stage is planned with. */
export interface PlanContext {
  /** The model that would come in; null where there is none, or nobody can say. */
  model: PlannedModel | null;
  seed: number;
}

/** What a stage says of itself before it runs. */
export interface PlannedStage {
  /** Of a stage that trains. */
  run?: RunPlan;
  /** In words, where there is no more to say. */
  note?: string;
  /** The model that it gives on, where it is another than came in. */
  model?: PlannedModel;
}

/**
 * Adds to a stage what it would do, for `espalier run --dry-run`. It writes nothing, and reads no weights.
 * @example
 * export const filter = (options: FilterOptions) => withPlan(defineStage({ name: 'filter', … }), async () => ({ note: `keeps ${options.keep} rows` }));
 */
export function withPlan<S extends object>(stage: S, plan: (context: PlanContext) => Promise<PlannedStage>): S {
  return Object.assign(stage, { [mark]: plan });
}

/** What the stage says of itself; null when it says nothing. */
export async function planOf(stage: Stage, context: PlanContext): Promise<PlannedStage | null> {
  const plan = (stage as { [mark]?: (context: PlanContext) => Promise<PlannedStage> })[mark];
  return plan ? plan(context) : null;
}

/** The plan of a stage that trains on what a trainer is made for. */
export const trainingPlan = async (trainer: { plan(model?: PlannedModel): Promise<RunPlan> }, { model }: PlanContext): Promise<PlannedStage> => ({ run: await trainer.plan(model ?? undefined) });
