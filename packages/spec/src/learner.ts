import type { Objective } from './objective';
import type { MetricSums, OutputName, OutputOptions, Outputs, TokenBatch } from './token-batch';

/** Numbers that a learner reports, by TRL's metric names. */
export type Metrics = Record<string, number>;

export interface LearnerCapabilities {
  outputs: readonly OutputName[];
  /** Whether `TokenBatch.prefixOf` is computed once for all sequences that share it. */
  sharedPrefixes: boolean;
  precision: 'fp32' | 'bf16';
  backend: string;
}

/** Parameters that are trained otherwise than the rest. The first group that matches a parameter's name counts. */
export interface ParameterGroup {
  /** A regular expression on the parameter's name in the checkpoint (`model.layers.0.mlp.up_proj.weight`). */
  match: string;
  /** Of the step's learning rate. Default 1; 0: the parameter stays as it is. */
  learningRateScale?: number;
  /** In place of the step's. */
  weightDecay?: number;
}

export interface OptimOptions {
  learningRate: number;
  /** Gradients are scaled down to this global norm (TRL: `max_grad_norm`). 0 or Infinity: not clipped. */
  maxGradNorm?: number;
  adamBeta1?: number;
  adamBeta2?: number;
  adamEpsilon?: number;
  /** Decoupled weight decay; norms and biases are not decayed. */
  weightDecay?: number;
  groups?: readonly ParameterGroup[];
}

/** Weights that a rollout engine can take over. `memory`: it shares the learner's process and nothing needs to move. */
export type WeightsHandle = { version: number; digest: string } & ({ kind: 'memory'; id: string } | { kind: 'adapter' | 'full'; uri: string });

/** The weights and their optimiser, wherever they live. Calls run one after another in the order in which they were made. */
export interface Learner {
  specVersion: 'v1';
  capabilities: LearnerCapabilities;
  /** The named numbers for `batch.actionIndex`, without a gradient. `precision` asks for products in fp32 where the learner's own are coarser. */
  forward(batch: TokenBatch, needs: readonly OutputName[], options?: { signal?: AbortSignal; temperature?: number; reference?: boolean; precision?: 'fp32'; outputOptions?: OutputOptions }): Promise<Outputs>;
  /**
   * Adds the gradient of `objective` on `batch` to the accumulated one. Metrics: the objective's own, with `loss`. `neftuneNoiseAlpha` adds uniform noise to
   * the embeddings (2310.05914), drawn from `seed`.
   */
  forwardBackward(batch: TokenBatch, objective: Objective, options?: { seq?: number; signal?: AbortSignal; temperature?: number; neftuneNoiseAlpha?: number; seed?: number }): Promise<{ loss: number; metrics: MetricSums }>;
  /** Applies the accumulated gradient and clears it. Metrics: `grad_norm`. */
  optimStep(options: OptimOptions, call?: { seq?: number }): Promise<Metrics>;
  /** Forgets the accumulated gradient: the optimiser step is not taken. */
  clearGradients?(): Promise<void>;
  /** Moves the reference towards the weights, `ref ← alpha · θ + (1 - alpha) · ref` (TRL: `ref_model_mixup_alpha`). Absent where the learner keeps no copy that could move. */
  mixReference?(alpha: number): Promise<void>;
  publish(): Promise<WeightsHandle>;
  /** Writes weights, tokenizer, configuration and optimiser state into an existing folder. */
  save(dir: string): Promise<void>;
  load(dir: string): Promise<void>;
  close(): Promise<void>;
}
