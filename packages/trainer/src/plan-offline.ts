import { isRowStream } from '@espalier/data';
import { EspalierError, type TokenBatch } from '@espalier/spec';
import { openDataset } from './datasets';
import { offlineSteps } from './offline';
import type { OfflineTrainerOptions, OfflineTrainerParts } from './offline-trainer';
import { adaptersOf, plannedModelOf, policyOnPaper, readPlannedModel, sampledRows, type PlannedModel, type RunPlan } from './plan';

/** The plan of a trainer on given rows: they are prepared, arranged and put together as training would. */
export async function planOffline<Example>(options: OfflineTrainerOptions, parts: OfflineTrainerParts<Example>, model?: PlannedModel): Promise<RunPlan> {
  const { args } = parts;
  const planned = model ?? (await plannedModelOf(options.model));
  const teacher = parts.engine?.teacher === undefined ? null : await readPlannedModel(parts.engine.teacher);
  const policy = policyOnPaper(planned, teacher);
  const streamed = isRowStream(options.trainDataset);
  const train = isRowStream(options.trainDataset) ? null : await openDataset(options.trainDataset, 'trainDataset');
  if (train && !Number.isFinite(train.size)) throw new EspalierError('bad_config', `${train.name} has no end`, { fix: 'give the task a `size`' });
  const evaluation = options.evalDataset === undefined ? null : await openDataset(options.evalDataset, 'evalDataset');
  const measured = train ? sampledRows(train.size) : [];
  let examples = measured.flatMap((row) => parts.prepare(train!.row(row), policy, train!.origin(row), 'train') ?? []) as Example[];
  if (train && examples.length === 0) throw new EspalierError('bad_data', `no row of ${train.name} has anything to train on`, { fix: 'rows whose completion fits `max_length`' });
  examples = parts.arrange?.(examples, { set: 'train', policy }) ?? examples;

  const size = args.perDeviceTrainBatchSize;
  const batches = Array.from({ length: Math.ceil(examples.length / size) }, (_, b) => parts.collate(examples.slice(b * size, (b + 1) * size)));
  const sum = (of: (batch: TokenBatch) => number) => batches.reduce((total, batch) => total + of(batch), 0);
  const sequences = train && Math.round((examples.length * train.size) / measured.length);
  const effectiveBatch = size * args.gradientAccumulationSteps;
  const perExample = (total: number) => (examples.length === 0 ? 0 : (total / examples.length) * Math.min(effectiveBatch, sequences ?? effectiveBatch));
  const epochSteps = sequences === null ? null : offlineSteps(sequences, { ...args, maxSteps: -1, numTrainEpochs: 1 });
  if (streamed && args.maxSteps <= 0) throw new EspalierError('bad_config', 'rows come as a stream, and `max_steps` is not set', { fix: 'set `max_steps`: the length of a stream is not known' });
  const steps = offlineSteps(sequences ?? 0, args);
  const lengths = batches.flatMap(({ offsets }) => Array.from({ length: offsets.length - 1 }, (_, i) => offsets[i + 1] - offsets[i]));
  const lora = adaptersOf(options.modelArgs);
  return {
    trainer: parts.name,
    kind: 'rows',
    model: planned,
    rows: train?.size ?? null,
    evalRows: evaluation?.size ?? 0,
    sequences,
    perDeviceTrainBatchSize: size,
    gradientAccumulationSteps: args.gradientAccumulationSteps,
    effectiveBatch,
    steps,
    stepsPerEpoch: epochSteps,
    epochs: epochSteps === null ? null : steps / epochSteps,
    tokens: {
      measuredRows: measured.length,
      mean: sum((batch) => batch.tokens.length) / Math.max(1, examples.length),
      longest: lengths.reduce((most, length) => Math.max(most, length), 0),
      microBatch: batches.reduce((most, batch) => Math.max(most, batch.tokens.length), 0),
      step: perExample(sum((batch) => batch.tokens.length)),
      actionsStep: perExample(sum((batch) => batch.actionIndex.length)),
    },
    generation: null,
    gradientCheckpointing: args.gradientCheckpointing,
    lora,
    reference: parts.needsReference === true && lora === null,
    critics: 0,
    engine: parts.engine ?? {},
    teacher,
  };
}
