import { defineStage, EspalierError, type AnyStage, type Artifacts, type Stage } from '@espalier/spec';
import { asBranch, branchSinkOf } from './branch-sink';
import { fingerprintOf, withFingerprint } from './fingerprint';
import { checkedPipeline, type NeededBy } from './pipeline';
import { runPipeline } from './run-pipeline';

/**
 * Stages beside the line: they begin with what there is, and what they give stays with them; the stages after the branch see what was there before it. So two
 * algorithms can start from one model. A branch has a folder of its own, and resumes stage by stage as the line does.
 *
 * @param name stands before the names of its stages in the report: `ppo/evaluate`
 * @throws EspalierError `bad_config` without stages
 * @example
 * pipeline(
 *   startFrom('my-model'), sft({ dataset: 'rows.jsonl' }),
 *   branch('ppo', rewardModel({ dataset: 'preferences.jsonl' }), ppo({ dataset: 'prompts.jsonl' })),
 *   dpo({ dataset: 'preferences.jsonl' }),
 * )
 */
export function branch<const Stages extends readonly AnyStage[], Name extends string>(name: Name, ...stages: Stages): Stage<Pick<Artifacts, NeededBy<Stages>>, Record<never, never>, Name> {
  const line = stages as unknown as readonly Stage[];
  if (typeof name !== 'string' || name === '') throw new EspalierError('bad_config', `the name of a branch is ${JSON.stringify(name)}`, { fix: 'branch("ppo", …)' });
  if (line.length === 0) throw new EspalierError('bad_config', `branch "${name}" has no stages`, { fix: 'give it at least one' });
  const needs = neededBy(line);
  const stage = defineStage<Partial<Artifacts>, Record<never, never>>({
    name,
    needs,
    gives: [],
    async run(input, context) {
      const sink = branchSinkOf(context);
      const named = <T extends { stage: string }>(event: T): T => ({ ...event, stage: `${name}/${event.stage}` });
      const report = await runPipeline(checkedPipeline(line, input), {
        outputDir: context.dir,
        seed: context.seed,
        resume: true,
        input,
        ...(context.signal ? { signal: context.signal } : {}),
        onEvent: (event) => {
          if (sink) sink.onEvent(named(event));
          else if (event.type === 'step') context.report(named(event));
          else if (event.type === 'notice') context.notice?.(named(event));
        },
      });
      sink?.reports.push(...report.stages.map((entry) => ({ ...entry, name: `${name}/${entry.name}` })));
      return {};
    },
  });
  return withFingerprint(asBranch(stage, line), async () => Promise.all(line.map(async (part) => [part.name, await fingerprintOf(part)]))) as unknown as Stage<Pick<Artifacts, NeededBy<Stages>>, Record<never, never>, Name>;
}

/** What the stages need that none before them gives. */
function neededBy(stages: readonly Stage[]): (keyof Artifacts)[] {
  const [needed, given] = [new Set<keyof Artifacts>(), new Set<keyof Artifacts>()];
  for (const { needs, gives } of stages) {
    for (const name of needs) if (!given.has(name)) needed.add(name);
    for (const name of gives) given.add(name);
  }
  return [...needed];
}
