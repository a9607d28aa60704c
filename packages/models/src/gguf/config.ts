import { EspalierError } from '@espalier/spec';
import { quote } from '../safetensors';
import type { GgufHeader, GgufValue } from './header';

/** The architectures of GGUF files that have a decoder here. */
const architectures = new Set(['llama', 'qwen2', 'qwen3', 'gpt2']);

/** What the reader of a GGUF file's weights and tokenizer needs beside the config. */
export interface GgufConfig {
  readonly architecture: string;
  /** As a `config.json` of `transformers`. */
  readonly json: Record<string, unknown>;
}

/**
 * The `config.json` that a GGUF file's metadata amounts to, with `transformers`' names (its `GGUF_CONFIG_MAPPING`). What the metadata leaves open is read off the tensors.
 *
 * @param readFactors - the values of `rope_freqs.weight`, asked for only when the file has it
 * @throws EspalierError `bad_checkpoint` for a missing or impossible field, `unsupported` for another architecture or rotary scaling.
 */
export function ggufConfig(path: string, header: GgufHeader, readFactors: () => Float32Array): GgufConfig {
  const fields = new Fields(path, header);
  const architecture = fields.text('general.architecture');
  if (!architectures.has(architecture)) throw new EspalierError('unsupported', `${path} holds a ${quote(architecture)} model`, { fix: `architectures that can be read from GGUF: ${[...architectures].join(', ')}` });
  const json = architecture === 'gpt2' ? gpt2Config(fields, header) : llamaConfig(architecture, fields, header, readFactors);
  for (const [ours, theirs] of [['bos_token_id', 'bos'], ['eos_token_id', 'eos'], ['pad_token_id', 'padding']] as const) {
    const id = fields.optional(`tokenizer.ggml.${theirs}_token_id`);
    if (id !== undefined) json[ours] = id;
  } // prettier-ignore
  return { architecture, json };
}

function llamaConfig(architecture: string, fields: Fields, header: GgufHeader, readFactors: () => Float32Array): Record<string, unknown> {
  const key = (name: string): string => `${architecture}.${name}`;
  const hidden = fields.size(key('embedding_length'));
  const heads = fields.size(key('attention.head_count'));
  const kvHeads = fields.optional(key('attention.head_count_kv')) ?? heads;
  const rotary = fields.optional(key('rope.dimension_count'));
  const headDim = fields.optional(key('attention.key_length')) ?? rotary ?? Math.floor(hidden / heads);
  if (rotary !== undefined && rotary !== headDim) throw new EspalierError('unsupported', `${fields.path} turns ${rotary} of ${headDim} dimensions of a head; only whole heads can be read`);
  if (fields.optional(key('attention.value_length')) !== undefined && fields.optional(key('attention.value_length')) !== headDim) throw new EspalierError('unsupported', `${fields.path} has values of another width than its keys`);
  const window = fields.optional(key('attention.sliding_window'));
  const tensor = (name: string): boolean => header.tensors.has(name);
  const modelType = architecture === 'llama' && window !== undefined && window > 0 ? 'mistral' : architecture;
  const classes: Record<string, string> = { llama: 'LlamaForCausalLM', mistral: 'MistralForCausalLM', qwen2: 'Qwen2ForCausalLM', qwen3: 'Qwen3ForCausalLM' };
  const biased = tensor('blk.0.attn_q.bias');
  if (biased && modelType === 'mistral') throw new EspalierError('unsupported', `${fields.path} has attention biases beside a sliding window`);
  return {
    architectures: [classes[modelType]],
    model_type: modelType,
    vocab_size: vocabSize(fields, header),
    hidden_size: hidden,
    intermediate_size: fields.size(key('feed_forward_length')),
    num_hidden_layers: fields.size(key('block_count')),
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    head_dim: headDim,
    hidden_act: 'silu',
    max_position_embeddings: fields.size(key('context_length')),
    rms_norm_eps: fields.number(key('attention.layer_norm_rms_epsilon')),
    rope_parameters: ropeParameters(fields, key, headDim, tensor('rope_freqs.weight') ? readFactors : null),
    tie_word_embeddings: !tensor('output.weight'),
    ...(modelType === 'llama' ? { attention_bias: biased, mlp_bias: tensor('blk.0.ffn_gate.bias') } : {}),
    ...(modelType === 'mistral' ? { sliding_window: window } : {}),
    ...(modelType === 'qwen3' ? { attention_bias: biased } : {}),
    ...(modelType.startsWith('qwen') ? { use_sliding_window: false } : {}),
    dtype: 'float32',
  };
}

function gpt2Config(fields: Fields, header: GgufHeader): Record<string, unknown> {
  const hidden = fields.size('gpt2.embedding_length');
  return {
    architectures: ['GPT2LMHeadModel'],
    model_type: 'gpt2',
    vocab_size: vocabSize(fields, header),
    n_positions: fields.size('gpt2.context_length'),
    n_embd: hidden,
    n_layer: fields.size('gpt2.block_count'),
    n_head: fields.size('gpt2.attention.head_count'),
    n_inner: fields.optional('gpt2.feed_forward_length') ?? 4 * hidden,
    layer_norm_epsilon: fields.number('gpt2.attention.layer_norm_epsilon'),
    activation_function: 'gelu_new',
    tie_word_embeddings: !header.tensors.has('output.weight'),
    dtype: 'float32',
  };
}

function vocabSize(fields: Fields, header: GgufHeader): number {
  const embeddings = header.tensors.get('token_embd.weight');
  if (!embeddings || embeddings.shape.length !== 2) throw fields.bad('it has no two-dimensional tensor "token_embd.weight"');
  return embeddings.shape[0];
}

function ropeParameters(fields: Fields, key: (name: string) => string, headDim: number, readFactors: (() => Float32Array) | null): Record<string, unknown> {
  const theta = fields.optionalNumber(key('rope.freq_base')) ?? 10_000; // llama.cpp's default
  if (readFactors) return { rope_type: 'llama3', rope_theta: theta, ...llama3Scaling(fields, theta, headDim, readFactors()) };
  const scaling = fields.optionalText(key('rope.scaling.type')) ?? 'none';
  const factor = fields.optionalNumber(key('rope.scaling.factor'));
  if (scaling === 'none' || factor === undefined || factor === 1) return { rope_type: 'default', rope_theta: theta };
  if (scaling === 'linear') return { rope_type: 'linear', rope_theta: theta, factor };
  throw new EspalierError('unsupported', `${fields.path} scales its rotary positions by ${quote(scaling)}`, { fix: 'none, linear and Llama 3 scaling can be read' });
}

/**
 * Llama 3's scaling from the factors that llama.cpp's converter computed of it: wavelengths under old/high keep their speed, those over old/low turn `factor` times slower, those between are
 * blended. The file keeps the results alone; the published models have low 1 and high 4, and an old length which is a power of two, so it is found by trying.
 */
function llama3Scaling(fields: Fields, theta: number, headDim: number, factors: Float32Array): Record<string, number> {
  if (factors.length !== headDim / 2) throw fields.bad(`"rope_freqs.weight" has ${factors.length} values for heads of ${headDim}`);
  const factor = factors.reduce((most, value) => Math.max(most, value), 1);
  const low = 1;
  const high = 4;
  for (let old = 16; old <= 2 ** 24; old *= 2) {
    const fits = factors.every((value, i) => {
      const wavelength = 2 * Math.PI * theta ** ((2 * i) / headDim);
      const smooth = (old / wavelength - low) / (high - low);
      const expected = wavelength < old / high ? 1 : wavelength > old / low ? factor : 1 / ((1 - smooth) / factor + smooth);
      return Math.abs(value - expected) <= 1e-4 * expected;
    });
    if (fits) return { factor, low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: old };
  }
  throw new EspalierError('unsupported', `${fields.path} has rotary factors ("rope_freqs.weight") that are not Llama 3's`);
}

/** Typed access to metadata. */
class Fields {
  constructor(
    readonly path: string,
    private readonly header: GgufHeader,
  ) {}

  bad(what: string): EspalierError {
    return new EspalierError('bad_checkpoint', `${this.path} is not a sound GGUF file: ${what}`);
  }

  private get(key: string): GgufValue {
    const value = this.header.metadata.get(key);
    if (value === undefined) throw this.bad(`metadata ${quote(key)} is missing`);
    return value;
  }

  text(key: string): string {
    const value = this.get(key);
    if (typeof value !== 'string') throw this.bad(`metadata ${quote(key)} is not a string`);
    return value;
  }

  optionalText(key: string): string | undefined {
    return this.header.metadata.has(key) ? this.text(key) : undefined;
  }

  number(key: string): number {
    const value = this.get(key);
    if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) throw this.bad(`metadata ${quote(key)} is not a number of at least 0`);
    return value;
  }

  optionalNumber(key: string): number | undefined {
    return this.header.metadata.has(key) ? this.number(key) : undefined;
  }

  /** A whole number of at least 1. */
  size(key: string): number {
    const value = this.number(key);
    if (!Number.isSafeInteger(value) || value === 0) throw this.bad(`metadata ${quote(key)} is ${value}, not a size`);
    return value;
  }

  /** A whole number of at least 0, or undefined. */
  optional(key: string): number | undefined {
    const value = this.optionalNumber(key);
    if (value !== undefined && !Number.isSafeInteger(value)) throw this.bad(`metadata ${quote(key)} is not a whole number`);
    return value;
  }
}
