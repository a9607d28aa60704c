import { assertSpecVersion, EspalierError, type AnyStage, type Artifacts, type Stage } from '@espalier/spec';

type RequiredKeys<T> = { [K in keyof T]-?: undefined extends T[K] ? never : K }[keyof T];
type NeedsOf<S> = S extends { run(input: infer Needs, ...rest: never[]): unknown } ? RequiredKeys<Needs> & keyof Artifacts : never;
type GivesOf<S> = S extends { run(...args: never[]): Promise<infer Gives> } ? RequiredKeys<Gives> & keyof Artifacts : never;

/** What would give an artifact, in words: for the compiler's message and for that of the same check at run time. */
export const givers = {
  policy: 'begin with startFrom() or pretrain()',
  reference: 'put a stage before it that gives a reference',
  reward: 'give it `reward`, or put rewardModel() before it',
  rows: 'give it `dataset`, or put aiPreferences() or critiqueRevise() before it',
  metrics: 'put a stage before it that gives metrics, such as evaluate()',
} as const satisfies Record<keyof Artifacts, string>;

type NameOf<S> = S extends { name: infer Name extends string } ? (string extends Name ? '' : ` '${Name}'`) : '';
/** One artifact at a time: the policy first. */
type FirstOf<Names> = 'policy' extends Names ? 'policy' : Names;

/**
 * What the compiler shows where a stage stands too early, as the type that was expected there:
 * `stage 2 'dpo' needs rows, which no stage before it gives: give it \`dataset\`, or put aiPreferences() or critiqueRevise() before it`.
 */
export type MissingArtifact<S, Names extends keyof Artifacts, Position extends number> = FirstOf<Names> extends infer Name extends keyof Artifacts ? `stage ${Position}${NameOf<S>} needs ${Name}, which no stage before it gives: ${(typeof givers)[Name]}` : never;

/** The tuple of stages with every stage that stands too early replaced by {@link MissingArtifact}. */
export type CheckedStages<Stages extends readonly unknown[], Have extends string = never, Counted extends readonly unknown[] = [unknown]> = Stages extends readonly [infer Head, ...infer Tail]
  ? [[Exclude<NeedsOf<Head>, Have>] extends [never] ? Head : MissingArtifact<Head, Exclude<NeedsOf<Head>, Have>, Counted['length']>, ...CheckedStages<Tail, Have | GivesOf<Head>, [...Counted, unknown]>]
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

/** `Stages` itself where the order is right; else what {@link CheckedStages} says. Stages whose number is not known when it is compiled are checked at run time alone. */
export type Ordered<Stages extends readonly AnyStage[]> = number extends Stages['length'] ? Stages : CheckedStages<Stages> extends Stages ? Stages : CheckedStages<Stages>;

/**
 * Composes stages. The compiler checks the order: where a stage needs an artifact that nothing before it gives, the error names the stage, the artifact and what would
 * give it ({@link MissingArtifact}). The same check runs when the pipeline is made, for those from YAML or plain JavaScript.
 *
 * @throws EspalierError `bad_config` when a stage stands too early, `incompatible_plugin` when one speaks other contracts
 * @example
 * const training = pipeline(startFrom('SmolLM2-135M-Instruct.Q4_1.gguf'), rpt({ dataset: 'sums.jsonl', reward: ['numeric'] }), evaluate({ dataset: 'held-out.jsonl', reward: ['numeric'] }));
 * const report = await runPipeline(training, { outputDir: 'runs/sums' });
 */
export function pipeline<const Stages extends readonly AnyStage[]>(...stages: Ordered<Stages>): Pipeline<GivenBy<Stages>> {
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
        fix: later ? `put "${later.name}" before it` : givers[missing.includes('policy') ? 'policy' : missing[0]] ?? `put a stage before it that gives ${missing[0]}`,
      });
    }
    for (const name of stage.gives) known.add(name);
  }
  return { specVersion: 'v1', stages, gives: [...known] };
}
