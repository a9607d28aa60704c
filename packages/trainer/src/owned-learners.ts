import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Engine } from '@espalier/engine';
import type { Algorithm, Learner, Objective, TokenBatch } from '@espalier/spec';
import type { ModelArgumentsInput } from './arguments';
import type { Policy, PolicyEngineOptions } from './policy';
import type { Json } from './trainer-state';
import type { Update } from './round';

/** A learner that is trained beside the policy: a critic. It is stepped with the policy, saved into a folder of its own in every checkpoint, and restored from there. */
export interface OwnedLearner {
  /** Its folder in a checkpoint, and the prefix of its optimiser's metrics: `critic`. */
  name: string;
  learner: Learner;
  /** Of the schedule's learning rate. Default 1. */
  learningRateScale?: number;
}

export interface OpenLearnersContext {
  policy: Policy;
  /** What the policy was opened from. */
  model: string | Engine;
  modelArgs?: ModelArgumentsInput;
  seed: number;
  inline?: boolean;
  signal?: AbortSignal;
}

export interface OwnedLearners {
  learners: readonly OwnedLearner[];
  /** What a resumed run must have again. */
  config?: Json;
  close(): Promise<void>;
}

export interface StepContext {
  /** The algorithm's, as it stands after whatever wraps it. */
  objective: Objective;
  temperature: number;
  /** Completions a micro-batch. */
  microBatchSize: number;
  /** Of everything random in this step. */
  seed: number;
}

/**
 * What an algorithm may be beyond the contract: owner of further learners, and master of the optimiser steps on one experience. All of it is optional, and survives
 * being spread into another algorithm.
 */
export interface OwningAlgorithm extends Algorithm {
  /** Temperature of the log-probs that the loss takes. Default: that of sampling. */
  lossTemperature?: number;
  /** How the policy's engine must be opened. */
  policyEngine?: PolicyEngineOptions;
  /** Opens the learners that it owns, before the run begins; the trainer closes them. */
  openLearners?(context: OpenLearnersContext): Promise<OwnedLearners>;
  /** The optimiser steps on one experience, which together count as one step of the run. Must change nothing; randomness derives from `context.seed`. */
  step?(batch: TokenBatch, context: StepContext): Omit<Update, 'numTokens'>;
  /** Makes its KL term weigh `factor` times as much from the next round on, and says the weight then; null where it has none. */
  raiseBeta?(factor: number): number | null;
}

/** Writes the policy into `dir`, every owned learner into a folder of its own below it. */
export async function saveLearners(dir: string, policy: Learner, owned: readonly OwnedLearner[]): Promise<void> {
  await policy.save(dir);
  for (const { name, learner } of owned) {
    await mkdir(join(dir, name), { recursive: true });
    await learner.save(join(dir, name));
  }
}

/** The reverse of {@link saveLearners}. */
export async function loadLearners(dir: string, policy: Learner, owned: readonly OwnedLearner[]): Promise<void> {
  await policy.load(dir);
  for (const { name, learner } of owned) await learner.load(join(dir, name));
}
