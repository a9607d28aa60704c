import { embedding, gelu, layerNorm, residualAdd, split, tidy, view } from '@espalier/tensor';
import type { Tensor } from '@espalier/tensor';
import type { Attend } from './attend';
import { BaseDecoder } from './base-decoder';
import type { HiddenOptions } from './decoder';

/** GPT-2: LayerNorm, learned positions, one projection for query, key and value, GELU. */
export class Gpt2Decoder extends BaseDecoder {
  protected readonly embeddingName = 'transformer.wte.weight';
  private readonly layers = Array.from({ length: this.config.numLayers }, (_, layer) => {
    const at = `transformer.h.${layer}`;
    return {
      attentionNorm: `${at}.ln_1`,
      qkv: this.projection(`${at}.attn.c_attn`),
      o: this.projection(`${at}.attn.c_proj`),
      mlpNorm: `${at}.ln_2`,
      up: this.projection(`${at}.mlp.c_fc`),
      down: this.projection(`${at}.mlp.c_proj`),
    };
  });

  hidden(tokens: Int32Array, positions: Int32Array, attend: Attend, { noise }: HiddenOptions = {}): Tensor {
    this.checkPositions(tokens, positions);
    const { numHeads, headDim, hiddenSize } = this.config;
    const rows = tokens.length;
    return tidy(() => {
      const embedded = embedding(this.parameter(this.embeddingName), tokens);
      const start = residualAdd(noise ? residualAdd(embedded, noise) : embedded, embedding(this.parameter('transformer.wpe.weight'), positions));
      const x = this.blocks(start, (residual, layer) => {
        const l = this.layers[layer];
        const qkv = split(this.project(this.norm(residual, l.attentionNorm), l.qkv), 3, 1); // 3 × [T, D]
        const [q, k, v] = qkv.map((part) => view(part, [rows, numHeads, headDim]));
        const middle = residualAdd(residual, this.project(view(attend(layer, q, k, v), [rows, hiddenSize]), l.o));
        return residualAdd(middle, this.project(gelu(this.project(this.norm(middle, l.mlpNorm), l.up)), l.down));
      });
      return this.norm(x, 'transformer.ln_f');
    });
  }

  private norm(x: Tensor, name: string): Tensor {
    return layerNorm(x, this.parameter(`${name}.weight`), this.parameter(`${name}.bias`), this.config.normEps);
  }
}
