import type { RunPlan } from '@espalier/trainer';
import { modelSize } from './model-size';
import type { Rates } from './probe';

export interface TimeEstimate {
  /** Seconds an optimiser step, its share of generation included. */
  step: number;
  /** Of those, generation. */
  generation: number;
  /** Seconds of the whole run, without evaluation, checkpoints and loading. */
  run: number;
  /** Floating-point operations an optimiser step. */
  flops: number;
}

/**
 * How much longer a step of training takes than its matrix products alone at the speed that was measured: attention, norms, the optimiser, the tape. Found by holding
 * estimates against runs of SmolLM2-135M; what it is on another model differs.
 */
export const overhead = 1.6;

/** How long a run takes: its arithmetic, divided by what this machine multiplies; generation by what it takes to read the weights once a token. */
export function estimateTime(plan: RunPlan, rates: Rates): TimeEstimate {
  const size = modelSize(plan.model, plan);
  const { config } = plan.model;
  const { step, actionsStep, mean } = plan.tokens;
  // Forward: two operations a weight and token; attention looks at half of the sequence. Backward: twice that; with checkpoints the forward pass once more.
  const attention = 2 * config.numLayers * config.numHeads * config.headDim * mean;
  const forward = step * (2 * size.blocks + attention) + actionsStep * 2 * size.head;
  const passes = (plan.lora ? 2 : 3) + (plan.gradientCheckpointing ? 1 : 0) + (plan.reference ? 1 : 0);
  const teacher = plan.teacher ? step * 2 * modelSize(plan.teacher, { lora: null, engine: {} }).parameters : 0;
  const flops = forward * passes * (1 + plan.critics) + teacher;
  const { generation: made } = plan;
  const width = made ? Math.min(64, made.completions) : 0;
  const perToken = made ? (2 * (size.blocks + size.head) * width) / rates.narrow : 0; // seconds a decoding step of `width` samples
  const decoding = made ? ((made.completions / width) * made.maxNewTokens * perToken + (2 * size.blocks * made.prompts * made.promptTokens) / rates.wide) / made.updates : 0;
  const seconds = (flops / rates.wide) * overhead + decoding * overhead;
  return { step: seconds, generation: decoding * overhead, run: seconds * plan.steps, flops };
}
