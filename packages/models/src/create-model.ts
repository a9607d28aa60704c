import { EspalierError } from '@espalier/spec';
import { parseConfig, type DecoderConfig } from './config';
import { configToJson } from './config-json';
import { randomWeights } from './init';
import { saveCheckpoint } from './save-checkpoint';
import { Tokenizer } from './tokenizer';

/** The shape of a model to be made: what has no default, and whatever else should differ from it. */
export type NewModelConfig = Pick<DecoderConfig, 'hiddenSize' | 'numLayers' | 'numHeads'> & Partial<DecoderConfig>;

export interface CreateModelOptions {
  /** Defaults: llama; `vocabSize` and token ids from the tokenizer; `intermediateSize` 4 × hidden; as many key heads as heads; tied embeddings; 1,024 positions. */
  readonly config: NewModelConfig;
  /** A tokenizer, or the folder to take one from. */
  readonly tokenizer: Tokenizer | string;
  /** The same seed gives the same weights. */
  readonly seed: number;
}

/**
 * Makes a model with random weights, as a folder that everything else loads (here and in `transformers`).
 *
 * @throws EspalierError `bad_config` for a shape that makes no model or is too small for the tokenizer; as {@link saveCheckpoint}.
 * @example
 * await createModel('tiny', { config: { hiddenSize: 64, numLayers: 2, numHeads: 4 }, tokenizer: byteTokenizer(), seed: 1 });
 */
export async function createModel(folder: string, options: CreateModelOptions): Promise<void> {
  const tokenizer = typeof options.tokenizer === 'string' ? Tokenizer.fromFolder(options.tokenizer) : options.tokenizer;
  const configJson = configToJson(fullConfig(options.config, tokenizer));
  const config = newModelConfig(options.config, tokenizer);
  const generationConfig = Object.fromEntries(['bos_token_id', 'eos_token_id', 'pad_token_id'].filter((key) => configJson[key] !== null).map((key) => [key, configJson[key]]));
  saveCheckpoint(folder, { weights: randomWeights(config, options.seed), configJson, tokenizer, generationConfig });
}

/** The whole shape of a model that {@link createModel} would make. @throws EspalierError `bad_config` as it does */
export function newModelConfig(config: NewModelConfig, tokenizer: Tokenizer): DecoderConfig {
  const whole = checked(configToJson(fullConfig(config, tokenizer)));
  if (whole.vocabSize < tokenizer.vocabSize) throw new EspalierError('bad_config', `vocabSize ${whole.vocabSize} is less than the tokenizer's ${tokenizer.vocabSize}`);
  return whole;
}

function fullConfig(config: NewModelConfig, tokenizer: Tokenizer): DecoderConfig {
  const architecture = config.architecture ?? 'llama';
  const gpt2 = architecture === 'gpt2';
  return {
    architecture,
    vocabSize: tokenizer.vocabSize,
    intermediateSize: 4 * config.hiddenSize,
    numKvHeads: config.numHeads,
    headDim: config.hiddenSize / config.numHeads,
    normEps: 1e-5,
    ropeTheta: gpt2 ? 0 : 10_000,
    tieWordEmbeddings: true,
    attentionBias: gpt2 || architecture === 'qwen2',
    attentionOutputBias: gpt2,
    mlpBias: gpt2,
    qkNorm: architecture === 'qwen3',
    maxPositions: 1024,
    initializerRange: 0.02,
    bosTokenId: tokenizer.bosTokenId,
    eosTokenIds: tokenizer.eosTokenId === undefined ? [] : [tokenizer.eosTokenId],
    padTokenId: tokenizer.padTokenId,
    ...config,
  };
}

function checked(json: Record<string, unknown>): DecoderConfig {
  try {
    return parseConfig(json);
  } catch (error) {
    if (error instanceof EspalierError) throw new EspalierError('bad_config', `the new model's shape does not work: ${error.message.replace(/^config\.json: /, '')}`, { cause: error });
    throw error;
  }
}
