import type { DecoderConfig, RopeScaling } from './config';

const classNames = { llama: 'LlamaForCausalLM', mistral: 'MistralForCausalLM', qwen2: 'Qwen2ForCausalLM', qwen3: 'Qwen3ForCausalLM', gpt2: 'GPT2LMHeadModel' } as const;
const scalarClassNames = { llama: 'Llama', mistral: 'Mistral', qwen2: 'Qwen2', qwen3: 'Qwen3', gpt2: 'GPT2' } as const;

/**
 * A `config.json` for a model that has gained or lost its scalar head since that file was written: `architectures` and the labels follow `config`, the rest stays.
 * @example
 * saveCheckpoint('reward', { weights: decoder.weights(), configJson: withHeadOf(checkpoint.configJson, decoder.config) });
 */
export function withHeadOf(configJson: Readonly<Record<string, unknown>>, config: DecoderConfig): Readonly<Record<string, unknown>> {
  const had = Array.isArray(configJson.architectures) && configJson.architectures.some((name) => typeof name === 'string' && name.endsWith('ForSequenceClassification'));
  if (config.scalarHead) return { ...configJson, ...headJson(config) };
  if (!had) return configJson;
  const { id2label: _labels, label2id: _ids, num_labels: _count, ...rest } = configJson;
  return { ...rest, ...headJson(config) };
}

/** One label is a scalar; the tokens that pad are looked for by transformers, which needs to know them. */
function headJson(config: DecoderConfig): Record<string, unknown> {
  if (!config.scalarHead) return { architectures: [classNames[config.architecture]] };
  const pad = config.padTokenId ?? config.eosTokenIds[0];
  return { architectures: [`${scalarClassNames[config.architecture]}ForSequenceClassification`], id2label: { 0: 'LABEL_0' }, label2id: { LABEL_0: 0 }, ...(pad !== undefined && { pad_token_id: pad }) };
}

/**
 * The `config.json` that transformers loads: what `parseConfig` reads, written back. For models that are made here or come from a GGUF file; a model
 * that came with its own keeps that one.
 */
export function configToJson(config: DecoderConfig): Record<string, unknown> {
  const shared = {
    model_type: config.architecture,
    vocab_size: config.vocabSize,
    tie_word_embeddings: config.tieWordEmbeddings,
    initializer_range: config.initializerRange,
    bos_token_id: config.bosTokenId ?? null,
    eos_token_id: config.eosTokenIds.length > 1 ? config.eosTokenIds : (config.eosTokenIds[0] ?? null),
    pad_token_id: config.padTokenId ?? null,
    torch_dtype: 'float32',
    ...headJson(config),
  };
  if (config.architecture === 'gpt2') {
    return {
      ...shared,
      n_embd: config.hiddenSize,
      n_inner: config.intermediateSize,
      n_layer: config.numLayers,
      n_head: config.numHeads,
      n_positions: config.maxPositions,
      layer_norm_epsilon: config.normEps,
      activation_function: 'gelu_new',
      resid_pdrop: 0,
      embd_pdrop: 0,
      attn_pdrop: 0,
    };
  }
  const layerTypes = config.slidingLayers?.map((sliding) => (sliding ? 'sliding_attention' : 'full_attention'));
  return {
    ...shared,
    hidden_act: 'silu',
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.numLayers,
    num_attention_heads: config.numHeads,
    num_key_value_heads: config.numKvHeads,
    head_dim: config.headDim,
    rms_norm_eps: config.normEps,
    rope_theta: config.ropeTheta,
    ...(config.ropeScaling && { rope_scaling: ropeScalingToJson(config.ropeScaling) }),
    max_position_embeddings: config.maxPositions,
    attention_dropout: 0,
    ...((config.architecture === 'llama' || config.architecture === 'qwen3') && { attention_bias: config.attentionBias }),
    ...(config.architecture === 'llama' && { mlp_bias: config.mlpBias }),
    ...(config.architecture === 'mistral' && { sliding_window: config.slidingWindow ?? null }),
    ...(config.architecture.startsWith('qwen') && { use_sliding_window: config.slidingWindow !== undefined, sliding_window: config.slidingWindow ?? null, ...(layerTypes && { layer_types: layerTypes }) }),
  };
}

function ropeScalingToJson(scaling: RopeScaling): Record<string, unknown> {
  const all = {
    rope_type: scaling.type,
    factor: scaling.factor,
    original_max_position_embeddings: scaling.originalMaxPositions,
    low_freq_factor: scaling.lowFreqFactor,
    high_freq_factor: scaling.highFreqFactor,
    attention_factor: scaling.attentionFactor,
    beta_fast: scaling.betaFast,
    beta_slow: scaling.betaSlow,
    mscale: scaling.mscale,
    mscale_all_dim: scaling.mscaleAllDim,
    truncate: scaling.truncate,
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}
