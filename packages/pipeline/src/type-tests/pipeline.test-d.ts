// What the compiler says of stages in a wrong order. The words behind each directive are what its message must hold: type-messages.test.ts compares them.
import { defineStage, type MetricsHandle, type PolicyHandle, type RewardHandle } from '@espalier/spec';
import { aiPreferences, branch, dpo, evaluate, pipeline, ppo, rewardModel, sft, startFrom } from '..';

const dataset = 'rows.jsonl';

// In order.
pipeline(startFrom('m'), sft({ dataset }), aiPreferences({ dataset }), dpo({ maxSteps: 1 }), rewardModel({ dataset }), ppo({ dataset }), evaluate({ dataset, reward: 'numeric' }));
pipeline(startFrom('m'), branch('beside', rewardModel({ dataset }), ppo({ dataset })), dpo({ dataset }));

// @ts-expect-error is not assignable to parameter of type '"stage 1 'sft' needs policy, which no stage before it gives: begin with startFrom() or pretrain()"'.
pipeline(sft({ dataset }), startFrom('m'));

// @ts-expect-error is not assignable to parameter of type '"stage 2 'dpo' needs rows, which no stage before it gives: give it `dataset`, or put aiPreferences() or critiqueRevise() before it"'.
pipeline(startFrom('m'), dpo({ maxSteps: 1 }), aiPreferences({ dataset }));

// @ts-expect-error is not assignable to parameter of type '"stage 3 'ppo' needs reward, which no stage before it gives: give it `reward`, or put rewardModel() before it"'.
pipeline(startFrom('m'), sft({ dataset }), ppo({ dataset }));

// A name of one's own is known when it is a constant.
// @ts-expect-error '"stage 2 'second' needs reward, which no stage before it gives: give it `reward`, or put rewardModel() before it"'.
pipeline(startFrom('m'), ppo({ name: 'second' as const, dataset }));

// @ts-expect-error '"stage 2 'left' needs reward, which no stage before it gives: give it `reward`, or put rewardModel() before it"'.
pipeline(startFrom('m'), branch('left', ppo({ dataset })));

const judged = defineStage<{ policy: PolicyHandle; reward: RewardHandle }, { metrics: MetricsHandle }>({ name: 'judged', needs: ['policy', 'reward'], gives: ['metrics'], run: async () => ({ metrics: { kind: 'metrics', path: '', values: {} } }) });
// @ts-expect-error '"stage 2 needs reward, which no stage before it gives: give it `reward`, or put rewardModel() before it"'.
pipeline(startFrom('m'), judged);

// @ts-expect-error Argument of type 'string' is not assignable to parameter of type 'AnyStage'.
pipeline('m');
