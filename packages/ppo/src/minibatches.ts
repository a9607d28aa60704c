import { Random } from '@espalier/data';
import type { MetricSums, Metrics, Objective, TokenBatch } from '@espalier/spec';
import { asOneStep, deriveSeed, ownSequences, selectSequences, type StepContext, type Update, type UpdatePart } from '@espalier/trainer';
import type { PPOConfig } from './config';

/** The name of a separate critic: its folder in a checkpoint, the prefix of its metrics. */
export const criticName = 'critic';

/**
 * The optimiser steps on one batch of completions: `numPpoEpochs` passes, each over the completions in a fresh order cut into `numMiniBatches`, each minibatch in
 * micro-batches. Means are over the minibatch, however it is cut. A minibatch without a token to train on is left out.
 *
 * @param critic the objective of a separate critic, trained on the same minibatches; null: the policy's objective has both losses
 */
export function minibatchSteps(batch: TokenBatch, critic: Objective | null, config: Pick<PPOConfig, 'numPpoEpochs' | 'numMiniBatches' | 'targetKl'>, context: StepContext): Omit<Update, 'numTokens'> {
  const own = ownSequences(batch);
  const steps: UpdatePart[][] = [];
  for (let epoch = 0; epoch < config.numPpoEpochs; epoch++) {
    const order = Array.from(new Random(deriveSeed(context.seed, epoch)).permutation(own.length), (i) => own[i]);
    for (let m = 0; m < config.numMiniBatches; m++) {
      const members = order.slice(Math.floor((m * own.length) / config.numMiniBatches), Math.floor(((m + 1) * own.length) / config.numMiniBatches));
      const parts: TokenBatch[] = [];
      for (let start = 0; start < members.length; start += context.microBatchSize) parts.push(selectSequences(batch, members.slice(start, start + context.microBatchSize)));
      steps.push(optimiserStep(parts, critic, context));
    }
  }
  const { targetKl } = config;
  return {
    parts: steps[0],
    further: steps.slice(1),
    ...(targetKl === undefined ? {} : { enough: (metrics: MetricSums) => mean(metrics['policy/approxkl_avg']) > 1.5 * targetKl }),
    summary: (taken) => summary(taken),
  };
}

function optimiserStep(microBatches: readonly TokenBatch[], critic: Objective | null, { objective, temperature }: StepContext): UpdatePart[] {
  const parts = asOneStep(microBatches.filter((part) => part.actionIndex.length > 0));
  const states = parts.reduce((sum, { actionIndex, columns }) => sum + actionIndex.length + (columns.ended?.reduce((a, b) => a + b, 0) ?? 0), 0);
  const counted = parts.map((part): TokenBatch => ({ ...part, columns: { ...part.columns, stateCount: new Float32Array(part.actionIndex.length).fill(states) } }));
  return counted.flatMap((part): UpdatePart[] => [{ batch: part, objective, temperature }, ...(critic ? [{ batch: part, objective: critic, learner: criticName }] : [])]);
}

const mean = (metric: { sum: number; weight: number } | undefined) => (metric && metric.weight > 0 ? metric.sum / metric.weight : 0);

/** `val/ratio_var` is TRL's: the variance of the minibatches' mean ratios. */
function summary(taken: readonly MetricSums[]): Metrics {
  const ratios = taken.filter((metrics) => metrics['val/ratio']).map((metrics) => mean(metrics['val/ratio']));
  const center = ratios.reduce((a, b) => a + b, 0) / Math.max(ratios.length, 1);
  return {
    'policy/updates': taken.length,
    ...(ratios.length > 1 ? { 'val/ratio_var': ratios.reduce((sum, ratio) => sum + (ratio - center) ** 2, 0) / (ratios.length - 1) } : {}),
  };
}
