import type { Engine } from '@espalier/engine';
import { localRolloutEngine } from '@espalier/engine/local';
import { EspalierError, type Learner, type RolloutEngine } from '@espalier/spec';
import { modelArguments, parseArguments, type ModelArgumentsInput } from './arguments';
import type { Json } from './trainer-state';

/** The model that a trainer works on, and whether it is the trainer's own to close. */
export interface Policy {
  engine: Engine;
  learner: Learner;
  rollouts: RolloutEngine;
  /** What a resumed run must have again. */
  config: Json;
  close(): Promise<void>;
}

/** What an algorithm may want of the policy's engine beyond what the user says. */
export interface PolicyEngineOptions {
  /** One number a token beside the language-model head: outputs `values` and `scores`. */
  scalarHead?: boolean;
  /** The embedding and the lowest layers stay as they are; a reference shares them. */
  freeze?: { layers: number };
  /** A frozen model of the same vocabulary beside the policy: output `teacherDivergence`. */
  teacher?: string;
  /** Keep each block's input alone for the backward pass, which computes the block again. */
  gradientCheckpointing?: boolean;
  /** A moving average of the weights, kept beside them. */
  ema?: { decay: number };
}

export interface OpenPolicyOptions {
  modelArgs?: ModelArgumentsInput;
  engine?: PolicyEngineOptions;
  /** Keep a frozen copy of the first weights. */
  reference?: boolean;
  /** Of an adapter's first weights. */
  seed?: number;
  /** The model on the caller's thread: for tests and debugging. */
  inline?: boolean;
  rolloutEngine?: RolloutEngine;
  signal?: AbortSignal;
}

/** Opens a model by path or id; an engine that is open already is used as it is, and stays open on `close`. */
export async function openPolicy(model: string | Engine, options: OpenPolicyOptions = {}): Promise<Policy> {
  const args = parseArguments(modelArguments, options.modelArgs, 'model arguments');
  const lora = args.usePeft ? { rank: args.loraR, alpha: args.loraAlpha, targets: args.loraTargetModules } : undefined;
  const owned = typeof model === 'string';
  if (!owned && options.engine?.gradientCheckpointing) throw new EspalierError('bad_config', '`gradient_checkpointing` was asked of an engine that is open already', { fix: 'open that engine with `gradientCheckpointing: true`, and leave it out here' });
  // Loaded when a model is: the algorithms are usable without a tensor library.
  const engine = owned
    ? await (await import('@espalier/engine')).openEngine({
        ...options.engine,
        model,
        backend: args.backend,
        precision: args.bf16 === undefined ? undefined : args.bf16 ? 'bf16' : 'fp32',
        samplerWeights: args.samplerWeights,
        lora,
        reference: options.reference,
        seed: options.seed,
        inline: options.inline,
        signal: options.signal,
      })
    : model;
  const { architecture, vocabSize } = engine.info.config;
  return {
    engine,
    learner: engine.learner,
    rollouts: options.rolloutEngine ?? localRolloutEngine(engine),
    config: { architecture, vocabSize, parameters: engine.info.parameterCount, trainable: engine.info.trainableCount },
    close: async () => {
      if (owned) await engine.close();
    },
  };
}
