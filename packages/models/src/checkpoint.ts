import type { DecoderConfig } from './config';
import type { GenerationConfig } from './generation-config';
import type { Tokenizer } from './tokenizer';
import type { WeightSource } from './weight-source';

/** A model on disk, opened: everything small is read and checked, tensors are read when asked for. */
export interface Checkpoint extends WeightSource {
  /** As it was asked for. */
  readonly reference: string;
  /** The folder or file that it was found in. */
  readonly path: string;
  readonly format: 'safetensors' | 'gguf';
  /** The decoder's shape. `eosTokenIds` are those that generation stops at: of `generation_config.json`, else of `config.json`, else the tokenizer's. */
  readonly config: DecoderConfig;
  /** `config.json` as it stands on disk; for GGUF, as `transformers` would write it. */
  readonly configJson: Readonly<Record<string, unknown>>;
  readonly generationConfig: GenerationConfig;
  /** @throws EspalierError `not_found` when the checkpoint came without one. */
  readonly tokenizer: Tokenizer;
  readonly hasTokenizer: boolean;
  /** The Jinja source of the chat template, if there is one. */
  readonly chatTemplate: string | undefined;
  /** The files that hold the weights. */
  readonly files: readonly string[];
  /** Lets go of the files. What has been read stays valid. */
  close(): void;
}
