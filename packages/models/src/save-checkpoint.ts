import { EspalierError } from '@espalier/spec';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { fileError, pathKind, PendingFile, syncFolder } from './files';
import type { FloatFormat } from './float-formats';
import type { GenerationConfig } from './generation-config';
import { stageSafetensors } from './safetensors-writer';
import type { Tokenizer } from './tokenizer';
import type { WeightSource } from './weight-source';

/** What goes into a checkpoint's folder. A {@link Checkpoint} has all of it; a decoder's `weights()` are newer weights for it. */
export interface CheckpointContent {
  /** Tensors under Hugging Face's names; read one at a time while they are written. */
  readonly weights: WeightSource;
  /** `config.json`, as it was read or from `configToJson`. */
  readonly configJson: Readonly<Record<string, unknown>>;
  readonly tokenizer?: Tokenizer;
  readonly generationConfig?: GenerationConfig;
  /** Format of the weights. Default `float32`. */
  readonly dtype?: FloatFormat;
}

const weightFiles = /^(model\.safetensors\.index\.json|model-\d{5}-of-\d{5}\.safetensors)$/;

/**
 * Writes a model folder that `transformers` loads: `config.json`, `generation_config.json`, `model.safetensors` and the tokenizer's files.
 * A folder that is not there yet appears whole or not at all. In one that is there, every file is first written beside its destination and flushed, then all are renamed into place.
 *
 * @throws EspalierError `no_space`, `io`: what was there is untouched; `unsupported` for weights that do not fit into `dtype`.
 * @example
 * saveCheckpoint('out', { weights: decoder.weights(), configJson: checkpoint.configJson, tokenizer: checkpoint.tokenizer, generationConfig: checkpoint.generationConfig, dtype: 'bfloat16' });
 */
export function saveCheckpoint(folder: string, content: CheckpointContent): void {
  const target = resolve(folder);
  const kind = pathKind(target);
  if (kind === 'folder') return writeInto(target, content);
  if (kind !== 'absent') throw new EspalierError('io', `${folder} is a file; a folder is to be written there`);
  const temporary = join(dirname(target), `.${basename(target)}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`);
  try {
    mkdirSync(temporary, { recursive: true });
    writeInto(temporary, content);
    renameSync(temporary, target);
    syncFolder(dirname(target));
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    throw fileError(error, 'writing', folder);
  }
}

function writeInto(folder: string, content: CheckpointContent): void {
  const staged: PendingFile[] = [];
  try {
    for (const [name, text] of smallFiles(content)) {
      const file = new PendingFile(join(folder, name));
      staged.push(file);
      file.write(new TextEncoder().encode(text));
      file.seal();
    }
    const tensors = [...content.weights.tensors.values()].map(({ name, shape }) => ({ name, shape, data: () => content.weights.read(name) }));
    staged.push(stageSafetensors(join(folder, 'model.safetensors'), tensors, { dtype: content.dtype ?? 'float32' }));
    for (const file of staged) file.commit();
  } catch (error) {
    for (const file of staged) file.discard();
    throw error;
  }
  for (const name of readdirSync(folder)) if (weightFiles.test(name)) rmSync(join(folder, name)); // shards of the model that was there before
  syncFolder(folder);
}

function smallFiles({ configJson, generationConfig, tokenizer, dtype = 'float32' }: CheckpointContent): Map<string, string> {
  const { torch_dtype: _old, quantization_config: _quantization, ...config } = configJson;
  const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
  const files = new Map([['config.json', json({ ...config, dtype, torch_dtype: dtype })]]); // transformers 5 reads the first, 4 the second
  if (generationConfig && Object.keys(generationConfig).length > 0) files.set('generation_config.json', json(generationConfig));
  for (const [name, text] of tokenizer?.files() ?? []) files.set(name, text);
  return files;
}
