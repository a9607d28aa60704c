import { EspalierError } from '@espalier/spec';

/** How a GGUF tensor becomes the Hugging Face parameter: its name, and what the converter did to its rows that must be undone. */
export interface HfTensor {
  readonly name: string;
  /** `permuted`: llama.cpp interleaves the rotary halves of q and k; `transposed`: GPT-2 keeps `Conv1D` weights as [in, out]. */
  readonly layout: 'plain' | 'permuted-q' | 'permuted-k' | 'transposed';
}

const llamaBlock: Readonly<Record<string, string>> = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  attn_q_norm: 'self_attn.q_norm',
  attn_k_norm: 'self_attn.k_norm',
  ffn_norm: 'post_attention_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
};
const llamaRoot: Readonly<Record<string, string>> = { token_embd: 'model.embed_tokens', output_norm: 'model.norm', output: 'lm_head' };

const gpt2Block: Readonly<Record<string, string>> = {
  attn_norm: 'ln_1',
  attn_qkv: 'attn.c_attn',
  attn_output: 'attn.c_proj',
  ffn_norm: 'ln_2',
  ffn_up: 'mlp.c_fc',
  ffn_down: 'mlp.c_proj',
};
const gpt2Root: Readonly<Record<string, string>> = { token_embd: 'transformer.wte', position_embd: 'transformer.wpe', output_norm: 'transformer.ln_f', output: 'lm_head' };
const gpt2Transposed = new Set(['attn_qkv', 'attn_output', 'ffn_up', 'ffn_down']);

/** The Hugging Face parameter behind a GGUF tensor of an architecture, or null for one that is not a parameter (`rope_freqs.weight`). */
export function hfTensor(architecture: string, name: string): HfTensor | null {
  if (name === 'rope_freqs.weight') return null;
  const gpt2 = architecture === 'gpt2';
  const block = /^blk\.(\d{1,5})\.([a-z_0-9]+)\.(weight|bias)$/.exec(name);
  if (block) {
    const [, layer, part, kind] = block;
    const hf = (gpt2 ? gpt2Block : llamaBlock)[part];
    if (hf) {
      const prefix = gpt2 ? 'transformer.h' : 'model.layers';
      const permuted = architecture === 'llama' && (part === 'attn_q' || part === 'attn_k');
      const layout = permuted ? (part === 'attn_q' ? 'permuted-q' : 'permuted-k') : gpt2 && kind === 'weight' && gpt2Transposed.has(part) ? 'transposed' : 'plain';
      return { name: `${prefix}.${Number(layer)}.${hf}.${kind}`, layout };
    }
  }
  const root = /^([a-z_]+)\.(weight|bias)$/.exec(name);
  const hf = root && (gpt2 ? gpt2Root : llamaRoot)[root[1]];
  if (hf) return { name: `${hf}.${root[2]}`, layout: 'plain' };
  throw new EspalierError('unsupported', `tensor ${JSON.stringify(name)} has no place in a ${architecture} model`);
}
