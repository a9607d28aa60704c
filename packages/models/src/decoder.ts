import { tensor, variable } from '@espalier/tensor';
import type { BlockOutputs, Tensor, Variable } from '@espalier/tensor';
import type { Attend, StepCache } from './attend';
import type { DecoderConfig } from './config';
import { parameterSpecs, readParameter } from './decoder-weights';
import { Gpt2Decoder } from './gpt2-decoder';
import { LlamaDecoder } from './llama-decoder';
import type { WeightSource } from './weight-source';

export * from './attend';

/** A low-rank update of one projection: `y += scale * (x Aᵀ) Bᵀ`. */
export interface Adapter {
  a: Variable; // [rank, in]
  b: Variable; // [out, rank]
  scale: number;
}

/** Where a step leaves the outputs of each block's layers, and the row of each token there. */
export interface KeptOutputs {
  blocks: readonly BlockOutputs[];
  rows: Int32Array; // [B]
}

/** What a block's layers gave, without its attention. */
export type LayerOutputs = Omit<BlockOutputs, 'mixed' | 'lse'>;

export interface HiddenOptions {
  /** `[T, D]`, added to the input embeddings. */
  noise?: Tensor | undefined;
  /** What the layers and the attention of block `layer` give for these very tokens and weights: they are then not computed. Only of a decoder that has {@link Decoder.roomForOutputs}. */
  known?: ((layer: number) => BlockOutputs) | undefined;
  /** Told what the layers of each block gave; the tensors live until it returns. */
  computed?: ((layer: number, outputs: LayerOutputs) => void) | undefined;
}

/** A decoder language model on the selected backend. Sequences are packed: `[T, D]`, no padding. */
export interface Decoder {
  readonly config: DecoderConfig;
  /** The model's own parameters by their Hugging Face names; projections lie as `[out, in]`, gpt2's too. */
  readonly parameters: ReadonlyMap<string, Variable>;
  /** Low-rank adapters by the name of the projection that they adapt (`model.layers.0.self_attn.q_proj`). */
  readonly adapters: Map<string, Adapter>;
  /** Whether `hidden` applies the adapters: without them, a model under LoRA is its own reference. */
  useAdapters: boolean;
  /** Whether a tape keeps each block's input alone and computes the block again on its way back: memory for a third more arithmetic. Default false. */
  gradientCheckpointing: boolean;
  /** The lowest layers that run off the tape: see {@link freezeLayers}. Default 0. */
  frozenLayers: number;
  /** What gets gradients: all parameters, or the adapters' `….lora_A.weight` and `….lora_B.weight`. */
  readonly trainable: ReadonlyMap<string, Variable>;
  /**
   * The hidden states after the final norm.
   * @param tokens `[T]`
   * @param positions `[T]`, counted from the start of each sequence's prefix
   * @returns `[T, D]`
   * @throws EspalierError `bad_data` for a token outside the vocabulary or a position that the model has not
   */
  hidden(tokens: Int32Array, positions: Int32Array, attend: Attend, options?: HiddenOptions): Tensor;
  /**
   * The hidden states after the final norm of one new token a sequence, whose keys and values go to the cache. Off the tape.
   * @param tokens `[B]`
   * @param positions `[B]`
   * @param kept room of {@link roomForOutputs}, where the outputs of each block's layers go, and the row of each token in it `[B]` (negative: not kept)
   * @returns `[B, D]`
   * @throws EspalierError as {@link hidden}
   */
  step(tokens: Int32Array, positions: Int32Array, cache: StepCache, kept?: KeptOutputs): Tensor;
  /** Room for what the layers of each block give for so many tokens; null where `step` cannot keep it, or `hidden` could not use it. The caller disposes it. */
  roomForOutputs(tokens: number): BlockOutputs[] | null;
  /** `[V, D]`; a tied head gives the embedding itself. @throws EspalierError `unsupported` when the model has none */
  lmHead(): { weight: Variable };
  /** `[1, D]`: its product with a hidden state is that token's score. */
  scalarHead(): { weight: Variable };
  /** The parameters as a checkpoint has them, read from the backend one at a time. */
  weights(): WeightSource;
  dispose(): void;
}

/**
 * Builds a decoder from a checkpoint's tensors.
 * @param options.trainable whether the parameters get gradients. Default true
 * @param options.shared parameters of another decoder that this one uses too: they are neither read nor disposed with it
 * @throws EspalierError `bad_checkpoint` when a tensor is missing or has another shape than `config` says
 * @example
 * const decoder = createDecoder(checkpoint.config, checkpoint.tensors);
 * const hidden = decoder.hidden(tokens, positions, attendCausally(decoder.config, layout)); // [T, D]
 */
export function createDecoder(config: DecoderConfig, weights: WeightSource, options: { trainable?: boolean; shared?: ReadonlyMap<string, Variable> } = {}): Decoder {
  const { trainable = true, shared = new Map<string, Variable>() } = options;
  const parameters = new Map<string, Variable>();
  try {
    for (const spec of parameterSpecs(config)) {
      const borrowed = shared.get(spec.name);
      if (borrowed) {
        parameters.set(spec.name, borrowed);
        continue;
      }
      const initial = tensor(readParameter(weights, spec), [...spec.shape], 'float32');
      parameters.set(spec.name, variable(initial, trainable));
      initial.dispose();
    }
  } catch (error) {
    for (const [name, parameter] of parameters) if (!shared.has(name)) parameter.dispose();
    throw error;
  }
  return config.architecture === 'gpt2' ? new Gpt2Decoder(config, parameters, shared) : new LlamaDecoder(config, parameters, shared);
}
