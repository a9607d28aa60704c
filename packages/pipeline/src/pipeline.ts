import { assertSpecVersion, EspalierError, type Artifacts, type Stage, type StageContext } from '@espalier/spec';

/** Any stage, whatever it needs and gives. */
export interface AnyStage {
  specVersion: 'v1';
  name: string;
  needs: readonly (keyof Artifacts)[];
  gives: readonly (keyof Artifacts)[];
  run(input: never, context: StageContext): Promise<Partial<Artifacts>>;
}

type RequiredKeys<T> = { [K in keyof T]-?: undefined extends T[K] ? never : K }[keyof T];
type NeedsOf<S> = S extends { run(input: infer Needs, ...rest: never[]): unknown } ? RequiredKeys<Needs> & keyof Artifacts : never;
type GivesOf<S> = S extends { run(...args: never[]): Promise<infer Gives> } ? RequiredKeys<Gives> & keyof Artifacts : never;

/** What the compiler shows where a stage stands too early: the artifacts that nothing before it gives. */
export interface MissingArtifact<Names extends string> {
  readonly 'this stage needs an artifact that no stage before it gives': Names;
}

/** The tuple of stages with every stage that stands too early replaced by {@link MissingArtifact}. */
export type CheckedStages<Stages extends readonly unknown[], Have extends string = never> = Stages extends readonly [infer Head, ...infer Tail]
  ? [[Exclude<NeedsOf<Head>, Have>] extends [never] ? Head : MissingArtifact<Exclude<NeedsOf<Head>, Have>>, ...CheckedStages<Tail, Have | GivesOf<Head>>]
  : [];

/** Names of the artifacts that the stages need and none before them gives. */
export type NeededBy<Stages extends readonly unknown[], Have extends string = never> = Stages extends readonly [infer Head, ...infer Tail] ? Exclude<NeedsOf<Head>, Have> | NeededBy<Tail, Have | GivesOf<Head>> : never;

/** Names of the artifacts that the stages give together. */
export type GivenBy<Stages extends readonly unknown[]> = Stages extends readonly [infer Head, ...infer Tail] ? GivesOf<Head> | GivenBy<Tail> : never;

/** Stages in an order that was checked. Run it with `runPipeline`. */
export interface Pipeline<Gives extends keyof Artifacts = keyof Artifacts> {
  readonly specVersion: 'v1';
  readonly stages: readonly Stage[];
  /** Every artifact that exists at the end. */
  readonly gives: readonly Gives[];
}

/**
 * Composes stages. The compiler checks the order: where a stage needs an artifact that nothing before it gives, the error names it
 * (`MissingArtifact<"policy">`). The same check runs when the pipeline is made, for those from YAML or plain JavaScript.
 *
 * @throws EspalierError `bad_config` when a stage stands too early, `incompatible_plugin` when one speaks other contracts
 * @example
 * const training = pipeline(startFrom('SmolLM2-135M-Instruct.Q4_1.gguf'), rpt({ dataset: 'sums.jsonl', reward: ['numeric'] }), evaluate({ dataset: 'held-out.jsonl', reward: ['numeric'] }));
 * const report = await runPipeline(training, { outputDir: 'runs/sums' });
 */
export function pipeline<const Stages extends readonly AnyStage[]>(...stages: Stages & CheckedStages<Stages>): Pipeline<GivenBy<Stages>> {
  return checkedPipeline(stages as unknown as readonly Stage[]) as Pipeline<GivenBy<Stages>>;
}

/** {@link pipeline} for stages whose types are not known at compile time: checked at run time alone. */
export function checkedPipeline(stages: readonly Stage[], have: Partial<Artifacts> = {}): Pipeline {
  if (stages.length === 0) throw new EspalierError('bad_config', 'a pipeline has no stages', { fix: 'give it at least one' });
  const known = new Set<keyof Artifacts>(Object.keys(have) as (keyof Artifacts)[]);
  for (const [i, stage] of stages.entries()) {
    assertSpecVersion(stage, 'stage');
    const missing = stage.needs.filter((name) => !known.has(name));
    if (missing.length > 0) {
      const later = stages.slice(i + 1).find((other) => missing.every((name) => other.gives.includes(name)));
      throw new EspalierError('bad_config', `stage ${i + 1} "${stage.name}" needs ${missing.join(' and ')}, which no stage before it gives`, {
        fix: later ? `put "${later.name}" before it` : missing.includes('policy') ? 'begin with pretrain or with a model' : `put a stage before it that gives ${missing.join(' and ')}`,
      });
    }
    for (const name of stage.gives) known.add(name);
  }
  return { specVersion: 'v1', stages, gives: [...known] };
}
