import { EspalierError, type Learner, type MetricSums, type Metrics } from '@espalier/spec';
import type { TrainingArguments } from './arguments';
import { nextSequenceNumber } from './learner-calls';
import type { OwnedLearner } from './owned-learners';
import type { UpdatePart } from './round';

interface AccumulateOptions {
  policy: Learner;
  learners?: readonly OwnedLearner[];
  /** Steps done before this one. */
  step: number;
  signal: AbortSignal | undefined;
}

/**
 * Forward and backward passes of one optimiser step: its loss, its metrics, and the learners that have a gradient now; none when nothing was trained on (all
 * completions masked), and the weights stay as they are.
 * @throws EspalierError `bad_config` when the loss is not a number any more
 */
export async function accumulate(parts: readonly UpdatePart[], { policy, learners: others = [], step, signal }: AccumulateOptions): Promise<{ loss: number; sums: MetricSums; learners: OwnedLearner[] }> {
  const own: OwnedLearner = { name: '', learner: policy };
  const learners = new Set<OwnedLearner>();
  const sums: MetricSums = {};
  let loss = 0;
  for (const { batch, objective, temperature, prefix = '', neftuneNoiseAlpha, seed, learner: name } of parts) {
    if (batch.actionIndex.length === 0) continue; // nothing in it is trained on
    const owner = name === undefined ? own : others.find((owned) => owned.name === name);
    if (!owner) throw new EspalierError('internal', `there is no learner named "${name}"`);
    const { learner } = owner;
    learners.add(owner);
    const call = learner.forwardBackward(batch, objective, { seq: nextSequenceNumber(learner), signal, temperature, ...(neftuneNoiseAlpha === undefined ? {} : { neftuneNoiseAlpha, seed }) });
    const result = await call.catch(async (error: unknown) => {
      for (const { learner: other } of learners) if (other !== learner) await other.clearGradients?.().catch(() => undefined); // its own is gone already
      throw error;
    });
    if (!Number.isFinite(result.loss)) throw new EspalierError('bad_config', `the loss became ${result.loss} at step ${step + 1}; the weights are those of step ${step}`, { fix: 'a smaller `learning_rate` may do' });
    loss += result.loss;
    for (const [metric, { sum, weight }] of Object.entries(result.metrics)) {
      const entry = (sums[prefix + metric] ??= { sum: 0, weight: 0 });
      entry.sum += sum;
      entry.weight += weight;
    }
  }
  return { loss, sums, learners: [...learners] };
}

/** The optimiser step of one learner, and its metrics: those of an owned learner under its name. */
export async function optimise({ name, learner, learningRateScale = 1 }: OwnedLearner, scheduled: number, args: TrainingArguments): Promise<Metrics> {
  const { adamBeta1, adamBeta2, adamEpsilon, weightDecay, maxGradNorm, parameterGroups: groups } = args;
  const learningRate = scheduled * learningRateScale;
  const metrics = await learner.optimStep({ learningRate, maxGradNorm, adamBeta1, adamBeta2, adamEpsilon, weightDecay, ...(groups ? { groups } : {}) }, { seq: nextSequenceNumber(learner) });
  return name === '' ? metrics : Object.fromEntries(Object.entries(metrics).map(([metric, value]) => [`${name}/${metric}`, value]));
}
