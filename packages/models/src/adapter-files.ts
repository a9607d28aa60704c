import { EspalierError } from '@espalier/spec';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileError, pathKind, PendingFile, readJsonObject, syncFolder } from './files';
import type { FloatFormat } from './float-formats';
import { openSafetensors, type SafetensorsFile } from './safetensors';
import { stageSafetensors } from './safetensors-writer';
import type { WeightSource } from './weight-source';

/** What PEFT's `adapter_config.json` says of a LoRA adapter. */
export interface AdapterConfig {
  /** `r` */
  readonly rank: number;
  /** `lora_alpha` */
  readonly alpha: number;
  /** `target_modules`: last parts of the names of the adapted projections. */
  readonly targets: readonly string[];
  /** `use_rslora` */
  readonly rslora?: boolean;
  /** `base_model_name_or_path` */
  readonly baseModel?: string;
  /** `modules_to_save`: layers that are trained and stored whole, under their own names. With `score` among them the task is sequence classification. */
  readonly modulesToSave?: readonly string[];
}

/**
 * Writes a LoRA adapter in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`, which `PeftModel.from_pretrained` loads.
 *
 * @param adapter.weights under PEFT's names, `base_model.model.<projection>.lora_A.weight` `[rank, in]` and `…lora_B.weight` `[out, rank]`
 * @throws EspalierError `no_space`, `io`; what was there is untouched.
 */
export function saveAdapter(folder: string, adapter: { config: AdapterConfig; weights: WeightSource; dtype?: FloatFormat }): void {
  const { config, weights, dtype = 'float32' } = adapter;
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw fileError(error, 'writing', folder);
  }
  const json = {
    peft_type: 'LORA',
    task_type: config.modulesToSave?.includes('score') ? 'SEQ_CLS' : 'CAUSAL_LM',
    base_model_name_or_path: config.baseModel ?? null,
    r: config.rank,
    lora_alpha: config.alpha,
    lora_dropout: 0.0,
    target_modules: config.targets,
    use_rslora: config.rslora ?? false,
    fan_in_fan_out: config.targets.includes('c_attn') || config.targets.includes('c_fc'), // GPT-2's Conv1D keeps [in, out]
    bias: 'none',
    inference_mode: true,
    init_lora_weights: true,
    modules_to_save: config.modulesToSave ?? null,
  };
  const file = new PendingFile(join(folder, 'adapter_config.json'));
  try {
    file.write(new TextEncoder().encode(`${JSON.stringify(json, null, 2)}\n`));
    file.seal();
    const tensors = [...weights.tensors.values()].map(({ name, shape }) => ({ name, shape, data: () => weights.read(name) }));
    stageSafetensors(join(folder, 'adapter_model.safetensors'), tensors, { dtype }).commit();
    file.commit();
  } catch (error) {
    file.discard();
    throw error;
  }
  syncFolder(folder);
}

/** An adapter on disk. */
export interface AdapterFiles extends SafetensorsFile {
  readonly config: AdapterConfig;
}

/**
 * Opens a LoRA adapter in PEFT's format.
 * @throws EspalierError `not_found` when the folder holds none, `bad_checkpoint` when a file is malformed, `unsupported` for another kind of adapter than plain LoRA.
 */
export function openAdapter(folder: string): AdapterFiles {
  const path = join(folder, 'adapter_config.json');
  if (pathKind(path) !== 'file') throw new EspalierError('not_found', `${folder} holds no adapter`, { fix: 'one has adapter_config.json and adapter_model.safetensors' });
  const json = readJsonObject(path, 1024 * 1024);
  const bad = (what: string): EspalierError => new EspalierError('bad_checkpoint', `${path}: ${what}`);
  if (json.peft_type !== 'LORA') throw new EspalierError('unsupported', `${path}: peft_type is ${JSON.stringify(json.peft_type)?.slice(0, 40)}; LORA can be read`);
  for (const field of ['use_dora', 'lora_bias', 'alora_invocation_tokens'] as const) if (json[field]) throw new EspalierError('unsupported', `${path}: ${field} is set; plain LoRA can be read`);
  for (const field of ['rank_pattern', 'alpha_pattern'] as const) if (json[field] && Object.keys(json[field]).length > 0) throw new EspalierError('unsupported', `${path}: ${field} is set; one rank and alpha for all can be read`);
  const { r, lora_alpha: alpha, target_modules: targets, base_model_name_or_path: base } = json;
  if (!Number.isInteger(r) || (r as number) < 1) throw bad(`r is ${JSON.stringify(r)?.slice(0, 40)}`);
  if (typeof alpha !== 'number' || !Number.isFinite(alpha)) throw bad(`lora_alpha is ${JSON.stringify(alpha)?.slice(0, 40)}`);
  if (!Array.isArray(targets) || !targets.every((t) => typeof t === 'string')) throw bad('target_modules is not a list of names');
  const file = openSafetensors(join(folder, 'adapter_model.safetensors'));
  return { ...file, config: { rank: r as number, alpha, targets, rslora: json.use_rslora === true, ...(typeof base === 'string' ? { baseModel: base } : {}) } };
}
