import { decodeBlocks, embedding, hasDecodeBlocks, residualAdd, rmsNorm, roomForOutputs, rotary, swiglu, tidy, view } from '@espalier/tensor';
import type { BlockOutputs, DecodeBlockTensors, Tensor, Variable } from '@espalier/tensor';
import { attentionOptions } from './attend';
import type { Attend, StepCache } from './attend';
import { BaseDecoder } from './base-decoder';
import type { Projection } from './base-decoder';
import type { Adapter, HiddenOptions, KeptOutputs } from './decoder';
import { rotaryFrequencies } from './rotary-frequencies';

/** Llama, Mistral, Qwen2, Qwen3: RMSNorm, rotary positions, grouped queries, SwiGLU. They differ in biases, windows and the norm of heads. */
export class LlamaDecoder extends BaseDecoder {
  protected readonly embeddingName = 'model.embed_tokens.weight';
  private readonly rope = rotaryFrequencies(this.config);
  private readonly layers = Array.from({ length: this.config.numLayers }, (_, layer) => {
    const at = `model.layers.${layer}`;
    return {
      attentionNorm: this.parameter(`${at}.input_layernorm.weight`),
      q: this.projection(`${at}.self_attn.q_proj`),
      k: this.projection(`${at}.self_attn.k_proj`),
      v: this.projection(`${at}.self_attn.v_proj`),
      o: this.projection(`${at}.self_attn.o_proj`),
      qNorm: this.parameters.get(`${at}.self_attn.q_norm.weight`),
      kNorm: this.parameters.get(`${at}.self_attn.k_norm.weight`),
      mlpNorm: this.parameter(`${at}.post_attention_layernorm.weight`),
      gate: this.projection(`${at}.mlp.gate_proj`),
      up: this.projection(`${at}.mlp.up_proj`),
      down: this.projection(`${at}.mlp.down_proj`),
      window: attentionOptions(this.config, layer).window,
    };
  });
  private lastAdapted: { adapters: ReadonlyMap<string, Adapter>; blocks: readonly DecodeBlockTensors[] } | undefined;

  hidden(tokens: Int32Array, positions: Int32Array, attend: Attend, { noise, known, computed }: HiddenOptions = {}): Tensor {
    this.checkPositions(tokens, positions);
    const { numHeads, numKvHeads, headDim, normEps } = this.config;
    const { invFreq, scaling } = this.rope;
    const rows = tokens.length;
    return tidy(() => {
      // transformers gives its embedding `padding_idx`: the token that pads (often the end of a turn) is not trained as an input
      const embedded = embedding(this.parameter(this.embeddingName), tokens, this.config.padTokenId);
      const x = this.blocks(noise ? residualAdd(embedded, noise) : embedded, (residual, layer) => {
        const l = this.layers[layer];
        const heads = (h: Tensor, n: number) => view(h, [rows, n, headDim]);
        const turned = (h: Tensor, norm: Variable | undefined) => rotary(norm ? rmsNorm(h, norm, normEps) : h, positions, invFreq, scaling);
        const given = known?.(layer);
        const [q, k, v] = this.projectAll(rmsNorm(residual, l.attentionNorm, normEps), [l.q, l.k, l.v], given && [given.q, given.k, given.v]);
        const attention = given && { o: heads(given.mixed, numHeads), lse: given.lse };
        const mixed = attend(layer, turned(heads(q, numHeads), l.qNorm), turned(heads(k, numKvHeads), l.kNorm), heads(v, numKvHeads), attention); // [T, H, Dh]
        const o = this.project(view(mixed, [rows, numHeads * headDim]), l.o, given?.o);
        const middle = residualAdd(residual, o);
        const [gate, up] = this.projectAll(rmsNorm(middle, l.mlpNorm, normEps), [l.gate, l.up], given && [given.gate, given.up]);
        const down = this.project(swiglu(gate, up), l.down, given?.down);
        computed?.(layer, { q, k, v, o, gate, up, down });
        return residualAdd(middle, down);
      });
      return rmsNorm(x, this.parameter('model.norm.weight'), normEps);
    });
  }

  /** In one call where the backend has one for it, adapters included; to the bit the same as {@link hidden}. */
  override step(tokens: Int32Array, positions: Int32Array, cache: StepCache, kept?: KeptOutputs): Tensor {
    if (!hasDecodeBlocks()) return super.step(tokens, positions, cache);
    this.checkPositions(tokens, positions);
    const { numHeads, numKvHeads, normEps } = this.config;
    const { invFreq, scaling } = this.rope;
    return tidy(() => {
      const caches = this.layers.map((_, layer) => cache.layer(layer));
      const options = { caches, heads: numHeads, kvHeads: numKvHeads, eps: normEps, scale: attentionOptions(this.config, 0).scale, positions, invFreq, rotaryScaling: scaling, rows: cache.rows, ranges: cache.ranges, kept };
      const x = decodeBlocks(embedding(this.parameter(this.embeddingName), tokens), this.adapted(), options);
      return rmsNorm(x, this.parameter('model.norm.weight'), normEps);
    });
  }

  /** Null on a backend without `decodeBlocks`, beside adapters (what lies inside of them would be missing), and where blocks are computed again in any case. */
  override roomForOutputs(tokens: number): BlockOutputs[] | null {
    if (!hasDecodeBlocks() || this.adapters.size > 0 || this.gradientCheckpointing) return null;
    return this.layers.map((block) => roomForOutputs(block, this.config.numHeads, tokens));
  }

  /** The blocks, each linear layer with its adapter where it has one: the same object for as long as the adapters are the same. */
  private adapted(): readonly DecodeBlockTensors[] {
    if (!this.useAdapters || this.adapters.size === 0) return this.layers;
    const last = this.lastAdapted;
    if (last && last.adapters.size === this.adapters.size && [...this.adapters].every(([name, adapter]) => last.adapters.get(name) === adapter)) return last.blocks;
    const adapted = (layer: Projection) => ({ ...layer, adapter: this.adapters.get(layer.name) });
    const blocks = this.layers.map((block) => ({
      ...block,
      q: adapted(block.q), k: adapted(block.k), v: adapted(block.v), o: adapted(block.o),
      gate: adapted(block.gate), up: adapted(block.up), down: adapted(block.down),
    }));
    this.lastAdapted = { adapters: new Map(this.adapters), blocks };
    return blocks;
  }
}
