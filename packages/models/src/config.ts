import { EspalierError } from '@espalier/spec';

export const architectures = ['llama', 'mistral', 'qwen2', 'qwen3', 'gpt2'] as const;
export type Architecture = (typeof architectures)[number];

/** How rotary frequencies are stretched to longer contexts, in transformers' terms. */
export interface RopeScaling {
  type: 'linear' | 'dynamic' | 'llama3' | 'yarn';
  factor: number;
  originalMaxPositions?: number;
  /** llama3 */
  lowFreqFactor?: number;
  highFreqFactor?: number;
  /** yarn */
  attentionFactor?: number;
  betaFast?: number;
  betaSlow?: number;
  mscale?: number;
  mscaleAllDim?: number;
  truncate?: boolean;
}

/** A decoder's shape and constants, whatever names its family's `config.json` gives them. */
export interface DecoderConfig {
  architecture: Architecture;
  vocabSize: number;
  hiddenSize: number;
  intermediateSize: number;
  numLayers: number;
  numHeads: number;
  numKvHeads: number;
  headDim: number;
  /** Epsilon of RMSNorm or LayerNorm. */
  normEps: number;
  /** 0 for learned positions (gpt2). */
  ropeTheta: number;
  ropeScaling?: RopeScaling;
  tieWordEmbeddings: boolean;
  /** Biases on the query, key and value projections. */
  attentionBias: boolean;
  /** A bias on the attention's output projection. */
  attentionOutputBias: boolean;
  mlpBias: boolean;
  /** RMSNorm of every query and key head (qwen3). */
  qkNorm: boolean;
  /** Layers with a sliding window see this many positions, the current one included. */
  slidingWindow?: number;
  /** Which layers have it; absent: all of them. */
  slidingLayers?: readonly boolean[];
  maxPositions: number;
  initializerRange: number;
  bosTokenId?: number;
  eosTokenIds: number[];
  padTokenId?: number;
  /** One more linear layer on the last hidden state, `score.weight [1, hiddenSize]`: reward models and critics. Transformers calls it `…ForSequenceClassification` with one label. */
  scalarHead?: boolean;
  /** There is no language-model head: an untied model that was saved for sequence classification. It gives scores and values, and no log-probs. */
  withoutLmHead?: boolean;
}

type Json = Readonly<Record<string, unknown>>;

/**
 * Reads a Hugging Face `config.json` (transformers 4 and 5 write rotary settings differently; both are read).
 * @throws EspalierError `unsupported` for another architecture, activation or rope scaling; `bad_checkpoint` for a field that is missing or makes no sense
 * @example
 * const config = parseConfig(JSON.parse(await readFile('model/config.json', 'utf8')));
 */
export function parseConfig(json: unknown): DecoderConfig {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw new EspalierError('bad_checkpoint', 'config.json is not a JSON object');
  const raw = json as Json;
  const type = raw.model_type;
  if (!architectures.includes(type as Architecture)) {
    throw new EspalierError('unsupported', `config.json: model_type ${JSON.stringify(type ?? null)} is no architecture that Espalier has`, { fix: `one of ${architectures.join(', ')}; SmolLM2 is a llama` });
  }
  const config = type === 'gpt2' ? parseGpt2(raw) : parseLlamaLike(raw, type as Exclude<Architecture, 'gpt2'>);
  return hasScalarHead(raw) ? { ...config, scalarHead: true } : config;
}

function parseLlamaLike(raw: Json, architecture: Exclude<Architecture, 'gpt2'>): DecoderConfig {
  requireOneOf(raw, 'hidden_act', ['silu', 'swish'], 'silu');
  const numHeads = size(raw, 'num_attention_heads');
  const numKvHeads = size(raw, 'num_key_value_heads', architecture === 'mistral' ? 8 : numHeads);
  const hiddenSize = size(raw, 'hidden_size');
  const headDim = size(raw, 'head_dim', architecture === 'qwen3' ? 128 : hiddenSize / numHeads);
  if (numHeads % numKvHeads !== 0) throw wrong('num_key_value_heads', numKvHeads, `a divisor of num_attention_heads ${numHeads}`);
  if (headDim % 2 !== 0) throw wrong('head_dim', headDim, 'an even number: halves of a head are rotated against each other');
  const bias = flag(raw, 'attention_bias', false);
  const numLayers = size(raw, 'num_hidden_layers');
  return {
    architecture,
    vocabSize: size(raw, 'vocab_size'),
    hiddenSize,
    intermediateSize: size(raw, 'intermediate_size'),
    numLayers,
    numHeads,
    numKvHeads,
    headDim,
    normEps: positive(raw, 'rms_norm_eps', 1e-6),
    ...rope(raw),
    tieWordEmbeddings: flag(raw, 'tie_word_embeddings', false),
    attentionBias: architecture === 'qwen2' || (architecture !== 'mistral' && bias),
    attentionOutputBias: (architecture === 'llama' || architecture === 'qwen3') && bias,
    mlpBias: architecture === 'llama' && flag(raw, 'mlp_bias', false),
    qkNorm: architecture === 'qwen3',
    ...window(raw, architecture, numLayers),
    maxPositions: size(raw, 'max_position_embeddings', 2048),
    initializerRange: positive(raw, 'initializer_range', 0.02),
    ...specialTokens(raw),
  };
}

function parseGpt2(raw: Json): DecoderConfig {
  requireOneOf(raw, 'activation_function', ['gelu_new', 'gelu_pytorch_tanh'], 'gelu_new');
  for (const [name, needed] of [['scale_attn_weights', true], ['scale_attn_by_inverse_layer_idx', false], ['add_cross_attention', false]] as const) {
    if (flag(raw, name, needed) !== needed) throw new EspalierError('unsupported', `config.json: ${name} is ${!needed}, which the gpt2 decoder here does not do`);
  }
  const hiddenSize = size(raw, 'n_embd');
  const numHeads = size(raw, 'n_head');
  if (hiddenSize % numHeads !== 0) throw wrong('n_head', numHeads, `a divisor of n_embd ${hiddenSize}`);
  return {
    architecture: 'gpt2',
    vocabSize: size(raw, 'vocab_size'),
    hiddenSize,
    intermediateSize: size(raw, 'n_inner', 4 * hiddenSize),
    numLayers: size(raw, 'n_layer'),
    numHeads,
    numKvHeads: numHeads,
    headDim: hiddenSize / numHeads,
    normEps: positive(raw, 'layer_norm_epsilon', 1e-5),
    ropeTheta: 0,
    tieWordEmbeddings: flag(raw, 'tie_word_embeddings', true),
    attentionBias: true,
    attentionOutputBias: true,
    mlpBias: true,
    qkNorm: false,
    maxPositions: size(raw, 'n_positions', 1024),
    initializerRange: positive(raw, 'initializer_range', 0.02),
    ...specialTokens(raw),
  };
}

/** Transformers 5 writes `rope_parameters`; 4 wrote `rope_theta` and, where the context is stretched, `rope_scaling`. */
function rope(raw: Json): Pick<DecoderConfig, 'ropeTheta' | 'ropeScaling'> {
  const settings = { ...((raw.rope_scaling ?? {}) as Json), ...((raw.rope_parameters ?? {}) as Json) };
  const ropeTheta = positive(settings.rope_theta === undefined ? raw : settings, 'rope_theta', 10_000);
  const type = settings.rope_type ?? settings.type ?? 'default';
  if (typeof settings.partial_rotary_factor === 'number' && settings.partial_rotary_factor !== 1) {
    throw new EspalierError('unsupported', `config.json: partial_rotary_factor ${settings.partial_rotary_factor} is not supported`, { fix: 'models that rotate whole heads' });
  }
  if (type === 'default') return { ropeTheta };
  if (type !== 'linear' && type !== 'dynamic' && type !== 'llama3' && type !== 'yarn') {
    throw new EspalierError('unsupported', `config.json: rope_type ${JSON.stringify(type)} is not supported`, { fix: 'one of default, linear, dynamic, llama3, yarn' });
  }
  const optional = (name: string) => (typeof settings[name] === 'number' ? (settings[name] as number) : undefined);
  const ropeScaling: RopeScaling = { type, factor: positive(settings, 'factor'), originalMaxPositions: optional('original_max_position_embeddings') };
  if (type === 'llama3') {
    ropeScaling.lowFreqFactor = positive(settings, 'low_freq_factor');
    ropeScaling.highFreqFactor = positive(settings, 'high_freq_factor');
  }
  if (type === 'llama3' || type === 'yarn') ropeScaling.originalMaxPositions ??= size(raw, 'max_position_embeddings');
  if (type === 'yarn') {
    Object.assign(ropeScaling, { attentionFactor: optional('attention_factor'), betaFast: optional('beta_fast'), betaSlow: optional('beta_slow'), mscale: optional('mscale'), mscaleAllDim: optional('mscale_all_dim'), truncate: flag(settings, 'truncate', true) });
  }
  return { ropeTheta, ropeScaling };
}

function window(raw: Json, architecture: Architecture, numLayers: number): Pick<DecoderConfig, 'slidingWindow' | 'slidingLayers'> {
  const value = raw.sliding_window;
  if (architecture === 'llama' || value === null || value === undefined) return {};
  if (architecture === 'mistral') return { slidingWindow: size(raw, 'sliding_window') };
  if (!flag(raw, 'use_sliding_window', false)) return {};
  const slidingWindow = size(raw, 'sliding_window');
  if (Array.isArray(raw.layer_types)) return { slidingWindow, slidingLayers: raw.layer_types.map((type) => type === 'sliding_attention') };
  const from = typeof raw.max_window_layers === 'number' ? raw.max_window_layers : 28;
  return { slidingWindow, slidingLayers: Array.from({ length: numLayers }, (_, layer) => layer >= from) };
}

function specialTokens(raw: Json): Pick<DecoderConfig, 'bosTokenId' | 'eosTokenIds' | 'padTokenId'> {
  const id = (name: string) => (Number.isInteger(raw[name]) && (raw[name] as number) >= 0 ? (raw[name] as number) : undefined);
  const eos = Array.isArray(raw.eos_token_id) ? raw.eos_token_id.filter((token): token is number => Number.isInteger(token)) : [id('eos_token_id')].filter((token) => token !== undefined);
  return { bosTokenId: id('bos_token_id'), eosTokenIds: eos, padTokenId: id('pad_token_id') };
}

/** Saved for sequence classification with one label. Transformers counts the labels by `id2label` and leaves it out when there are two. */
function hasScalarHead(raw: Json): boolean {
  const names: unknown[] = Array.isArray(raw.architectures) ? raw.architectures : [];
  const labels = typeof raw.id2label === 'object' && raw.id2label !== null ? Object.keys(raw.id2label).length : (raw.num_labels ?? 2);
  return names.some((name) => typeof name === 'string' && name.endsWith('ForSequenceClassification')) && labels === 1;
}

const wrong = (name: string, value: unknown, fix: string) => new EspalierError('bad_checkpoint', `config.json: \`${name}\` is ${JSON.stringify(value ?? null)}`, { fix });

function size(raw: Json, name: string, otherwise?: number): number {
  const value = raw[name] ?? otherwise;
  if (!Number.isSafeInteger(value) || (value as number) <= 0) throw wrong(name, value, 'a whole number above 0');
  return value as number;
}

function positive(raw: Json, name: string, otherwise?: number): number {
  const value = raw[name] ?? otherwise;
  if (typeof value !== 'number' || !(value > 0) || value === Infinity) throw wrong(name, value, 'a number above 0');
  return value;
}

function flag(raw: Json, name: string, otherwise: boolean): boolean {
  const value = raw[name] ?? otherwise;
  if (typeof value !== 'boolean') throw wrong(name, value, 'true or false');
  return value;
}

function requireOneOf(raw: Json, name: string, values: readonly string[], otherwise: string): void {
  const value = raw[name] ?? otherwise;
  if (!values.includes(value as string)) throw new EspalierError('unsupported', `config.json: ${name} ${JSON.stringify(value)} is not supported`, { fix: `one of ${values.join(', ')}` });
}
