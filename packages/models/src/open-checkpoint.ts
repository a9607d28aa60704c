import { EspalierError } from '@espalier/spec';
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Checkpoint } from './checkpoint';
import { parseConfig, type DecoderConfig } from './config';
import { fileError, pathKind, RangedFile, readJsonObject } from './files';
import { readGenerationConfig, tokenIds, type GenerationConfig } from './generation-config';
import { ggufTokenizer } from './gguf-tokenizer';
import { ggufConfig } from './gguf/config';
import { readGgufHeader } from './gguf/header';
import { ggufWeights, readGgufTensor } from './gguf/weights';
import { fetchFromHub, isHubReference, type HubOptions } from './hub';
import { openSafetensors } from './safetensors';
import { openShardedSafetensors } from './safetensors-sharded';
import { Tokenizer } from './tokenizer';
import type { WeightSource } from './weight-source';

const maxConfigBytes = 16 * 1024 * 1024;

/** Options of {@link openCheckpoint}: how the hub is asked. */
export type OpenCheckpointOptions = HubOptions;

/**
 * Opens a model: a folder in Hugging Face's layout, a `.gguf` file, a `.safetensors` file with its `config.json` beside it, or a hub id (`org/name`, `org/name@revision`, `org/name/file.gguf`).
 *
 * @throws EspalierError `not_found` for a path or id that is not there; `bad_checkpoint` naming file and tensor; `unsupported` for an architecture, tokenizer or tensor type that is not known; `network`.
 * @example
 * const checkpoint = await openCheckpoint('SmolLM2-135M-Instruct.Q4_1.gguf');
 * const decoder = createDecoder(checkpoint.config, checkpoint);
 * checkpoint.close();
 */
export async function openCheckpoint(reference: string, options: OpenCheckpointOptions = {}): Promise<Checkpoint> {
  if (reference.trim() === '' || reference.includes('\0')) throw new EspalierError('not_found', 'the model has no name', { fix: 'give a folder, a .gguf or .safetensors file, or a hub id' });
  const kind = pathKind(reference);
  if (kind === 'absent') {
    if (!isHubReference(reference)) throw new EspalierError('not_found', `model ${reference} does not exist`, { fix: 'give a folder, a .gguf or .safetensors file, or a hub id (org/name)' });
    return openLocal(reference, await fetchFromHub(reference, options));
  }
  return openLocal(reference, reference);
}

function openLocal(reference: string, path: string): Checkpoint {
  const kind = pathKind(path);
  if (kind === 'folder') return openFolder(reference, path);
  if (kind !== 'file') throw new EspalierError('bad_checkpoint', `${path} is neither a folder nor a regular file`);
  if (path.endsWith('.safetensors')) return openHuggingFace(reference, path, dirname(path), path);
  if (path.endsWith('.gguf')) return openGguf(reference, path);
  throw new EspalierError('unsupported', `${path} is not a kind of model file that can be read`, { fix: 'a folder, a .gguf or a .safetensors file' });
}

function openFolder(reference: string, folder: string): Checkpoint {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    throw fileError(error, 'reading', folder);
  }
  const named = (name: string): string | undefined => (names.includes(name) ? join(folder, name) : undefined);
  const weights = named('model.safetensors') ?? named('model.safetensors.index.json');
  if (weights) return openHuggingFace(reference, folder, folder, weights);
  const gguf = names.filter((name) => name.endsWith('.gguf'));
  if (gguf.length === 1) return openGguf(reference, join(folder, gguf[0]));
  if (gguf.length > 1) throw new EspalierError('not_found', `${folder} holds ${gguf.length} GGUF files`, { fix: `name one: ${gguf.slice(0, 5).join(', ')}` });
  if (names.includes('adapter_config.json')) throw new EspalierError('unsupported', `${folder} holds a LoRA adapter, not a model`, { fix: 'give the model that it was trained on, or merge it first' });
  if (names.some((name) => /^pytorch_model.*\.bin$/.test(name))) throw new EspalierError('unsupported', `${folder} holds pickled PyTorch weights, which could run any program when read`, { fix: 'save it again with transformers: it writes safetensors' });
  throw new EspalierError('not_found', `${folder} holds no model`, { fix: 'a model folder has config.json and model.safetensors' });
}

function openHuggingFace(reference: string, path: string, folder: string, weightsPath: string): Checkpoint {
  const configPath = join(folder, 'config.json');
  if (pathKind(configPath) !== 'file') throw new EspalierError('not_found', `${folder} has no config.json`, { fix: 'the weights alone do not say what model they are' });
  const configJson = readJsonObject(configPath, maxConfigBytes);
  const config = located(configPath, () => parseConfig(configJson));
  const generationConfig = readGenerationConfig(folder);
  const tokenizer = pathKind(join(folder, 'tokenizer.json')) === 'file' ? Tokenizer.fromFolder(folder) : null;
  const file = weightsPath.endsWith('.json') ? openShardedSafetensors(weightsPath) : openSafetensors(weightsPath);
  const files = 'paths' in file ? file.paths : [weightsPath];
  return assemble({ reference, path, format: 'safetensors', weights: file, config, configJson, generationConfig, tokenizer, files, close: () => file.close() });
}

function openGguf(reference: string, path: string): Checkpoint {
  const file = new RangedFile(path);
  try {
    const header = readGgufHeader(file);
    const { architecture, json } = ggufConfig(path, header, () => readGgufTensor(file, header.tensors.get('rope_freqs.weight')!));
    const config = located(path, () => parseConfig(json));
    const tokenizer = ggufTokenizer(path, header);
    const weights = ggufWeights(file, header, architecture, config);
    const ids = Object.fromEntries(['bos_token_id', 'eos_token_id', 'pad_token_id'].filter((key) => json[key] !== undefined).map((key) => [key, json[key]]));
    const turnEnd = header.metadata.get('tokenizer.ggml.eot_token_id'); // the end of a turn, where it is not the end of a text
    const ends = [ids.eos_token_id, turnEnd].filter((id, i, all): id is number => typeof id === 'number' && all.indexOf(id) === i);
    const generationConfig = { ...ids, ...(ends.length > 1 ? { eos_token_id: ends } : {}) };
    return assemble({ reference, path, format: 'gguf', weights, config, configJson: json, generationConfig, tokenizer, files: [path], close: () => file.close() });
  } catch (error) {
    file.close();
    throw error;
  }
}

/** Puts the file's path before a message that does not have it. */
function located<T>(path: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof EspalierError && !error.message.includes(path)) throw new EspalierError(error.code, `${path}: ${error.message}`, { cause: error });
    throw error;
  }
}

interface Parts {
  readonly reference: string;
  readonly path: string;
  readonly format: 'safetensors' | 'gguf';
  readonly weights: WeightSource;
  readonly config: DecoderConfig;
  readonly configJson: Record<string, unknown>;
  readonly generationConfig: GenerationConfig;
  readonly tokenizer: Tokenizer | null;
  readonly files: readonly string[];
  readonly close: () => void;
}

function assemble({ weights, tokenizer, config, ...rest }: Parts): Checkpoint {
  const stops = tokenIds(rest.generationConfig.eos_token_id, `eos_token_id of the generation config of ${rest.path}`);
  const ends = stops.length > 0 ? stops : config.eosTokenIds.length > 0 ? config.eosTokenIds : tokenizer?.eosTokenId !== undefined ? [tokenizer.eosTokenId] : [];
  return {
    ...rest,
    config: { ...config, eosTokenIds: ends, ...(config.scalarHead && !config.tieWordEmbeddings && !weights.tensors.has('lm_head.weight') && { withoutLmHead: true }) },
    tensors: weights.tensors,
    read: (name, into) => weights.read(name, into),
    hasTokenizer: tokenizer !== null,
    chatTemplate: tokenizer?.chatTemplate?.source,
    get tokenizer(): Tokenizer {
      if (!tokenizer) throw new EspalierError('not_found', `${rest.path} comes without a tokenizer`, { fix: 'put its tokenizer.json beside the weights' });
      return tokenizer;
    },
  };
}
