import type { AnyStage, Completion, EnvironmentStep, Evaluation, Experience, ExperienceContext, Factory, Learner, Message, Notice, Objective, Outputs, Plugin, Preference, Reward, RewardSample, ScoredTrajectory, TextModel, TokenBatch, TrackedMetrics, TrackedRun, Tracker } from '@espalier/spec';

/** The part that a plugin gives under a name, as somebody makes it who knows nothing but the contracts. */
async function made<Part>(factories: Readonly<Record<string, Factory<Part>>> | undefined, name: string, options: Record<string, unknown> = {}): Promise<Part> {
  const factory = factories?.[name] as Factory<Part, Record<string, unknown>> | undefined;
  if (!factory) throw new Error(`the plugin gives no ${name}`);
  return factory(options);
}

const numberOf = (reward: Reward | null): number | null => (reward === null || typeof reward === 'number' ? reward : reward.total);

/** Uses a plugin as a host of version 1 does: reads what each contract promises, and says what came out. */
export async function useAll(plugin: Plugin, names: { reward: string; objective: string; algorithm: string; engine: string; environment: string; judge: string; model: string; stage: string; dataset: string }, given: { samples: readonly RewardSample[]; batch: TokenBatch; outputs: Outputs; groups: readonly (readonly ScoredTrajectory[])[]; context: ExperienceContext }): Promise<Record<string, unknown>> {
  const reward = await made(plugin.rewards, names.reward);
  const rewards = await reward.score(given.samples, { step: 1, evaluation: true, log: () => undefined });

  const objective = await made(plugin.objectives, names.objective);
  const evaluation: Evaluation = objective.evaluate(given.outputs, given.batch);
  const means = Object.fromEntries(Object.entries(evaluation.metrics).map(([name, { sum, weight }]) => [name, sum / weight]));

  const algorithm = await made(plugin.algorithms, names.algorithm);
  const experience: Experience = await algorithm.experience(given.groups, given.context);

  const engine = await made(plugin.rolloutEngines, names.engine);
  const completions: Completion[] = [];
  for await (const completion of engine.generate([{ id: 'a', prompt: Int32Array.of(3, 4), n: 2, seed: 5, sampling: { maxNewTokens: 3 } }])) completions.push(completion);
  const scores = (await engine.score?.([Int32Array.of(3, 4, 5)])) ?? [];
  await engine.close();

  const environment = await made(plugin.environments, names.environment);
  let seen: readonly Message[] = await environment.reset({}, 2);
  const steps: EnvironmentStep[] = [];
  for (let turn = 0; turn < 20 && !steps[steps.length - 1]?.done; turn++) {
    const step = await environment.step({ role: 'assistant', content: String(seen.length) });
    steps.push(step);
    seen = step.observation ?? [];
  }
  await environment.close?.();

  const judge = await made(plugin.judges, names.judge);
  const preference: Preference | null = await judge.compare({ prompt: 'Is ice cold?', first: 'Yes.', second: 'It depends on what you mean by cold.' });

  const model: TextModel = await made(plugin.textModels, names.model);
  const [text] = await model.complete(['hello']);
  const logps = (await model.optionLogps?.('hello', ['hello', 'goodbye'])) ?? [];

  const stage: AnyStage = await made(plugin.stages, names.stage);

  const rows: Record<string, unknown>[] = [];
  for await (const row of await made(plugin.datasets, names.dataset)) rows.push(row);

  return {
    plugin: `${plugin.name} ${plugin.specVersion}`,
    reward: { name: reward.name, numbers: rewards.map(numberOf), state: reward.state?.() },
    objective: { name: objective.name, coupling: objective.coupling, loss: evaluation.loss, outputs: Object.keys(evaluation.grads), means, inert: objective.inert?.(given.batch).length },
    algorithm: { advantages: experience.advantages, actions: experience.batch.actionIndex.length, metrics: experience.metrics },
    engine: { ...engine.capabilities, texts: completions.map(({ text: said, finishReason, version }) => `${said} (${finishReason}, ${version})`), scored: scores.map(({ length }) => length) },
    environment: { name: environment.name, tools: environment.tools?.map(({ name }) => name), rewards: steps.map((step) => numberOf(step.reward ?? null)) },
    judge: preference?.probability,
    model: { text, best: logps.indexOf(Math.max(...logps)) },
    stage: { name: stage.name, needs: stage.needs, gives: stage.gives },
    rows: rows.length,
  };
}

/** Takes a step with a learner, with the least that each call takes. */
export async function stepWith(learner: Learner, objective: Objective, batch: TokenBatch, dir: string): Promise<{ before: number; after: number; norm: number; version: number }> {
  const outputs = await learner.forward(batch, objective.needs);
  const { loss } = await learner.forwardBackward(batch, objective);
  const { grad_norm: norm } = await learner.optimStep({ learningRate: 0.5 });
  const { loss: after } = await learner.forwardBackward(batch, objective);
  await learner.clearGradients?.();
  await learner.mixReference?.(0.5);
  await learner.save(dir);
  await learner.load(dir);
  const { version } = await learner.publish();
  await learner.close();
  return { before: outputs.logps ? loss : NaN, after, norm, version };
}

/** Tells a tracker of a run, with the least that each call takes. */
export async function tellAll(tracker: Tracker, outputDir: string): Promise<void> {
  const run: TrackedRun = { name: 'told', outputDir, config: {}, totalSteps: 1, step: 0 };
  const record: TrackedMetrics = { step: 1, epoch: 0.5, kind: 'train', metrics: { loss: 1 } };
  const notice: Notice = { name: 'flat', level: 'note', message: 'nothing moved', step: 1 };
  await tracker.start?.(run);
  await tracker.log(record);
  await tracker.samples?.(1, [{ completion: 'x' }]);
  await tracker.notice?.(notice);
  await tracker.flush?.();
  await tracker.end?.({ step: 1 });
}
