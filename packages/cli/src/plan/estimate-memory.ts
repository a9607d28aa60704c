import type { DecoderConfig } from '@espalier/models';
import type { RunPlan } from '@espalier/trainer';
import { modelSize } from './model-size';

/** Bytes, by what takes them. */
export interface MemoryEstimate {
  weights: number;
  gradients: number;
  optimizer: number;
  /** Frozen copies: a reference, a teacher, an average of the weights. */
  frozen: number;
  /** What the backward pass needs of a micro-batch. */
  activations: number;
  /** Keys and values of what is decoded together. It is freed before training goes on. */
  generation: number;
  /** Node, its libraries, the tokenizer. */
  runtime: number;
  /** The most that is there at once. */
  peak: number;
}

/** The engine's own limits (`maxTokensPerMicroBatch`, `maxBatchSize`, `maxCacheBytes`): a command leaves them at their defaults. */
export const engineLimits = { microBatchTokens: 1024, samples: 64, cacheBytes: 2 ** 30 };
const float = 4; // weights, gradients and activations are fp32, whatever products are computed in

/** Numbers that a block keeps of a token for its backward pass: two norms, queries and keys before and after rotation, values, attention, two residuals; gate, up and their product. */
function keptByBlock(c: DecoderConfig): number {
  const [q, kv] = [c.numHeads * c.headDim, c.numKvHeads * c.headDim];
  return 4 * c.hiddenSize + 3 * q + 3 * kv + (c.architecture === 'gpt2' ? 2 : 3) * c.intermediateSize;
}

/**
 * What a run takes, from the model's shape and the tokens of its batches; held against measured runs in `estimate.test.ts`.
 */
export function estimateMemory(plan: RunPlan): MemoryEstimate {
  const { config } = plan.model;
  const size = modelSize(plan.model, plan);
  const models = 1 + plan.critics;
  const weights = models * size.parameters * float;
  const gradients = models * size.trainable * float;
  const frozen = float * ((plan.reference ? size.parameters : 0) + (plan.engine.ema ? size.trainable : 0) + (plan.teacher ? modelSize(plan.teacher, { lora: null, engine: {} }).parameters : 0));
  const tokens = Math.max(plan.tokens.longest, Math.min(plan.tokens.microBatch, engineLimits.microBatchTokens));
  const block = keptByBlock(config);
  const perToken = plan.gradientCheckpointing ? config.numLayers * config.hiddenSize + 2 * block : config.numLayers * block;
  const head = size.head * float; // the head's gradient, before it is added to that of the embedding
  const activations = tokens * perToken * float + (plan.lora ? 0 : head);
  const { generation } = plan;
  const decoded = generation ? Math.min(engineLimits.samples, generation.completions) * (generation.longestPrompt + generation.maxNewTokens) : 0;
  const cache = Math.min(engineLimits.cacheBytes, decoded * config.numLayers * 2 * config.numKvHeads * config.headDim * float);
  const runtime = 200e6;
  const parts = { weights, gradients, optimizer: 2 * gradients, frozen, activations, generation: cache, runtime };
  return { ...parts, peak: weights + 3 * gradients + frozen + runtime + Math.max(activations, cache) };
}
