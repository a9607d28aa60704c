import { EspalierError } from '@espalier/spec';
import { causalAttention, embedding, gelu, layerNorm, linear, residualAdd, rmsNorm, rotary, split, swiglu, tensor, tidy, variable, view } from '@espalier/tensor';
import type { AttentionOptions, SequenceLayout, Tensor, Variable } from '@espalier/tensor';
import type { DecoderConfig } from './config';
import { parameterSpecs, readParameter, toHf } from './decoder-weights';
import { rotaryFrequencies } from './rotary-frequencies';
import type { WeightSource } from './weight-source';

/**
 * How queries meet keys: training and prefill attend within the batch, decoding to a cache.
 * `q [T, H, Dh]`, `k [T, Hkv, Dh]`, `v [T, Hkv, Dh]`, rotated → `[T, H, Dh]`.
 */
export type Attend = (layer: number, q: Tensor, k: Tensor, v: Tensor) => Tensor;

/** A low-rank update of one projection: `y += scale * (x Aᵀ) Bᵀ`. */
export interface Adapter {
  a: Variable; // [rank, in]
  b: Variable; // [out, rank]
  scale: number;
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
  /** What gets gradients: all parameters, or the adapters' `….lora_A.weight` and `….lora_B.weight`. */
  readonly trainable: ReadonlyMap<string, Variable>;
  /**
   * The hidden states after the final norm.
   * @param tokens `[T]`
   * @param positions `[T]`, counted from the start of each sequence's prefix
   * @returns `[T, D]`
   * @throws EspalierError `bad_data` for a token outside the vocabulary or a position that the model has not
   */
  hidden(tokens: Int32Array, positions: Int32Array, attend: Attend): Tensor;
  /** `[V, D]`; a tied head gives the embedding itself. */
  lmHead(): { weight: Variable };
  /** The parameters as a checkpoint has them, read from the backend one at a time. */
  weights(): WeightSource;
  dispose(): void;
}

/**
 * Builds a decoder from a checkpoint's tensors.
 * @param options.trainable whether the parameters get gradients. Default true
 * @throws EspalierError `bad_checkpoint` when a tensor is missing or has another shape than `config` says
 * @example
 * const decoder = createDecoder(checkpoint.config, checkpoint.tensors);
 * const hidden = decoder.hidden(tokens, positions, attendCausally(decoder.config, layout)); // [T, D]
 */
export function createDecoder(config: DecoderConfig, weights: WeightSource, options: { trainable?: boolean } = {}): Decoder {
  const parameters = new Map<string, Variable>();
  try {
    for (const spec of parameterSpecs(config)) {
      const initial = tensor(readParameter(weights, spec), [...spec.shape], 'float32');
      parameters.set(spec.name, variable(initial, options.trainable ?? true));
      initial.dispose();
    }
  } catch (error) {
    for (const parameter of parameters.values()) parameter.dispose();
    throw error;
  }
  return config.architecture === 'gpt2' ? new Gpt2Decoder(config, parameters) : new LlamaDecoder(config, parameters);
}

/** Scale and window of a layer's attention. */
export function attentionOptions(config: DecoderConfig, layer: number): AttentionOptions {
  const window = config.slidingLayers?.[layer] === false ? undefined : config.slidingWindow;
  return { scale: config.headDim ** -0.5, window };
}

/** Attention within a packed batch: training, scoring, prefill. */
export const attendCausally =
  (config: DecoderConfig, layout: SequenceLayout): Attend =>
  (layer, q, k, v) =>
    causalAttention(q, k, v, layout, attentionOptions(config, layer));

abstract class BaseDecoder implements Decoder {
  readonly adapters = new Map<string, Adapter>();
  useAdapters = true;

  constructor(
    readonly config: DecoderConfig,
    readonly parameters: ReadonlyMap<string, Variable>,
  ) {}

  abstract hidden(tokens: Int32Array, positions: Int32Array, attend: Attend): Tensor;
  protected abstract readonly embeddingName: string;

  get trainable(): ReadonlyMap<string, Variable> {
    const all = new Map(this.parameters);
    for (const [name, { a, b }] of this.adapters) all.set(`${name}.lora_A.weight`, a).set(`${name}.lora_B.weight`, b);
    return new Map([...all].filter(([, parameter]) => parameter.trainable));
  }

  lmHead(): { weight: Variable } {
    return { weight: this.parameter(this.config.tieWordEmbeddings ? this.embeddingName : 'lm_head.weight') };
  }

  weights(): WeightSource {
    const specs = new Map(parameterSpecs(this.config).map((spec) => [spec.name, spec]));
    return {
      tensors: new Map([...specs.values()].map(({ name, stored }) => [name, { name, shape: stored, dtype: 'float32' }])),
      read: (name, into) => {
        const spec = specs.get(name);
        if (!spec) throw new EspalierError('not_found', `the model has no parameter ${name}`);
        const values = toHf(spec, this.parameter(name).dataSync<'float32'>());
        if (!into) return values.slice();
        into.set(values);
        return into;
      },
    };
  }

  dispose(): void {
    for (const parameter of this.parameters.values()) parameter.dispose();
    for (const { a, b } of this.adapters.values()) {
      a.dispose();
      b.dispose();
    }
    this.adapters.clear();
  }

  protected parameter(name: string): Variable {
    const parameter = this.parameters.get(name);
    if (!parameter) throw new EspalierError('internal', `the decoder has no parameter ${name}`);
    return parameter;
  }

  /** A linear layer by name, with its bias and adapter where it has them. */
  protected project(x: Tensor, name: string): Tensor {
    const y = linear(x, this.parameter(`${name}.weight`), this.parameters.get(`${name}.bias`));
    const adapter = this.useAdapters ? this.adapters.get(name) : undefined;
    return adapter ? residualAdd(y, linear(linear(x, adapter.a), adapter.b), adapter.scale) : y;
  }

  /** Runs the blocks; what a block leaves behind is freed before the next, save what a tape keeps. */
  protected blocks(first: Tensor, block: (x: Tensor, layer: number) => Tensor): Tensor {
    let x = first; // [T, D]
    for (let layer = 0; layer < this.config.numLayers; layer++) {
      const next = tidy(() => block(x, layer));
      x.dispose();
      x = next;
    }
    return x;
  }

  protected checkPositions(tokens: Int32Array, positions: Int32Array): void {
    if (tokens.length !== positions.length) throw new EspalierError('internal', `${tokens.length} tokens came with ${positions.length} positions`);
    const { maxPositions, architecture, ropeScaling } = this.config;
    if (architecture !== 'gpt2' && ropeScaling?.type !== 'dynamic') return; // rotary positions have no end of their own
    for (const position of positions) {
      if (position >= maxPositions) throw new EspalierError('bad_data', `a sequence reaches position ${position}, the model has ${maxPositions}`, { fix: 'shorten the prompt or the completion' });
    }
  }
}

/** Llama, Mistral, Qwen2, Qwen3: RMSNorm, rotary positions, grouped queries, SwiGLU. They differ in biases, windows and the norm of heads. */
class LlamaDecoder extends BaseDecoder {
  protected readonly embeddingName = 'model.embed_tokens.weight';
  private readonly rope = rotaryFrequencies(this.config);

  hidden(tokens: Int32Array, positions: Int32Array, attend: Attend): Tensor {
    this.checkPositions(tokens, positions);
    return tidy(() => {
      const x = this.blocks(embedding(this.parameter(this.embeddingName), tokens), (residual, layer) => {
        const at = `model.layers.${layer}`;
        const mixed = this.attention(this.norm(residual, `${at}.input_layernorm`), `${at}.self_attn`, layer, positions, attend);
        const middle = residualAdd(residual, mixed);
        return residualAdd(middle, this.mlp(this.norm(middle, `${at}.post_attention_layernorm`), `${at}.mlp`));
      });
      return this.norm(x, 'model.norm');
    });
  }

  private attention(x: Tensor, at: string, layer: number, positions: Int32Array, attend: Attend): Tensor {
    const { numHeads, numKvHeads, headDim, qkNorm } = this.config;
    const heads = (name: string, n: number) => view(this.project(x, `${at}.${name}_proj`), [positions.length, n, headDim]);
    const turned = (name: string, n: number) => {
      const split = heads(name, n); // [T, n, Dh]
      return rotary(qkNorm ? this.norm(split, `${at}.${name}_norm`) : split, positions, this.rope.invFreq, this.rope.scaling);
    };
    const mixed = attend(layer, turned('q', numHeads), turned('k', numKvHeads), heads('v', numKvHeads)); // [T, H, Dh]
    return this.project(view(mixed, [positions.length, numHeads * headDim]), `${at}.o_proj`);
  }

  private mlp(x: Tensor, at: string): Tensor {
    return this.project(swiglu(this.project(x, `${at}.gate_proj`), this.project(x, `${at}.up_proj`)), `${at}.down_proj`);
  }

  private norm(x: Tensor, name: string): Tensor {
    return rmsNorm(x, this.parameter(`${name}.weight`), this.config.normEps);
  }
}

/** GPT-2: LayerNorm, learned positions, one projection for query, key and value, GELU. */
class Gpt2Decoder extends BaseDecoder {
  protected readonly embeddingName = 'transformer.wte.weight';

  hidden(tokens: Int32Array, positions: Int32Array, attend: Attend): Tensor {
    this.checkPositions(tokens, positions);
    const { numHeads, headDim, hiddenSize } = this.config;
    return tidy(() => {
      const start = residualAdd(embedding(this.parameter(this.embeddingName), tokens), embedding(this.parameter('transformer.wpe.weight'), positions));
      const x = this.blocks(start, (residual, layer) => {
        const at = `transformer.h.${layer}`;
        const qkv = split(this.project(this.norm(residual, `${at}.ln_1`), `${at}.attn.c_attn`), 3, 1); // 3 × [T, D]
        const [q, k, v] = qkv.map((part) => view(part, [tokens.length, numHeads, headDim]));
        const mixed = view(attend(layer, q, k, v), [tokens.length, hiddenSize]);
        const middle = residualAdd(residual, this.project(mixed, `${at}.attn.c_proj`));
        return residualAdd(middle, this.project(gelu(this.project(this.norm(middle, `${at}.ln_2`), `${at}.mlp.c_fc`)), `${at}.mlp.c_proj`));
      });
      return this.norm(x, 'transformer.ln_f');
    });
  }

  private norm(x: Tensor, name: string): Tensor {
    return layerNorm(x, this.parameter(`${name}.weight`), this.parameter(`${name}.bias`), this.config.normEps);
  }
}
