// What plugins bring reaches the names and options of a configuration.
import { definePlugin, defineReward, defineStage, type MetricsHandle, type PolicyHandle } from '@espalier/spec';
import { createRegistry, defineConfig, pipeline, rpt, startFrom } from '..';

const dataset = 'rows.jsonl';
const score = async () => [0];
const brevity = definePlugin({
  name: 'espalier-plugin-brevity',
  rewards: {
    brevity: (options: { maxLength: number; soft?: boolean }) => defineReward({ name: `brevity ${options.maxLength}`, score }),
    politeness: () => defineReward({ name: 'politeness', score }),
  },
  stages: {
    weigh: (options: { grams: number }) =>
      defineStage<{ policy: PolicyHandle }, { metrics: MetricsHandle }, 'weigh'>({ name: 'weigh', needs: ['policy'], gives: ['metrics'], run: async ({ policy }) => ({ metrics: { kind: 'metrics', path: policy.path, values: { grams: options.grams } } }) }),
  },
});
const other = definePlugin({ name: 'espalier-plugin-other', rewards: { kindness: (options?: { strict?: boolean }) => defineReward({ name: `kindness ${options?.strict}`, score }) } });

defineConfig({
  plugins: [brevity, other],
  pipeline: ({ pipeline, startFrom, rpt, evaluate, stages }) =>
    pipeline(
      startFrom('m'),
      rpt({ dataset, reward: ['numeric', 'politeness=0.1', 'kindness', { name: 'brevity', options: { maxLength: 8 } }] }),
      stages.weigh({ grams: 3 }),
      evaluate({ dataset, reward: { name: 'brevity', weight: 2, options: { maxLength: 8, soft: true } } }),
    ),
});

defineConfig({
  plugins: [brevity, other],
  // @ts-expect-error Type '"politenes"' is not assignable to type … Did you mean '"politeness"'?
  pipeline: ({ pipeline, startFrom, rpt }) => pipeline(startFrom('m'), rpt({ dataset, reward: ['numeric', 'politenes'] })),
});

defineConfig({
  plugins: [brevity],
  // @ts-expect-error Type 'string' is not assignable to type 'number'.
  pipeline: ({ pipeline, startFrom, rpt }) => pipeline(startFrom('m'), rpt({ dataset, reward: { name: 'brevity', options: { maxLength: 'short' } } })),
});

defineConfig({
  plugins: [brevity],
  // @ts-expect-error 'maxLenght' does not exist in type '{ maxLength: number; soft?: boolean | undefined; }'. Did you mean to write 'maxLength'?
  pipeline: ({ pipeline, startFrom, ppo }) => pipeline(startFrom('m'), ppo({ dataset, reward: { name: 'brevity', options: { maxLenght: 8 } } })),
});

defineConfig({
  plugins: [brevity],
  // @ts-expect-error Property 'weight' does not exist on type
  pipeline: ({ pipeline, startFrom, stages }) => pipeline(startFrom('m'), stages.weight({ grams: 3 })),
});

defineConfig({
  plugins: [brevity],
  // @ts-expect-error Type 'string' is not assignable to type 'number'.
  pipeline: ({ pipeline, startFrom, stages }) => pipeline(startFrom('m'), stages.weigh({ grams: 'three' })),
});

defineConfig({
  plugins: [brevity],
  // @ts-expect-error is not assignable to parameter of type '"stage 1 'weigh' needs policy, which no stage before it gives: begin with startFrom() or pretrain()"'.
  pipeline: ({ pipeline, stages }) => pipeline(stages.weigh({ grams: 3 })),
});

// @ts-expect-error Type '"v9"' is not assignable to type '"v1"'.
defineConfig({ plugins: [{ specVersion: 'v9', name: 'newer' }] });

// @ts-expect-error 'outputdir' does not exist in type 'EspalierConfig<readonly []>'. Did you mean to write 'outputDir'?
defineConfig({ outputdir: 'runs/x', pipeline: pipeline(startFrom('m')) });

// A registry carries the same types to stages that are not made in a configuration.
const registry = createRegistry([brevity]);
rpt({ dataset, registry, reward: 'politeness' });

// @ts-expect-error Type '"politness"' is not assignable to type … Did you mean '"politeness"'?
rpt({ dataset, registry, reward: 'politness' });
