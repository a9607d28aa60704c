import { EspalierError } from '@espalier/spec';
import { addInPlace, linear, tensor, transpose, variable, zeros } from '@espalier/tensor';
import type { Tensor } from '@espalier/tensor';
import type { Decoder } from './decoder';
import { projectionSpecs, scoreName } from './decoder-weights';
import { seededNumbers } from './seeded-numbers';

/** Low-rank adaptation (Hu et al. 2021), in PEFT's terms and with its defaults. */
export interface LoraOptions {
  /** PEFT's `r`. Default 8. */
  rank?: number;
  /** PEFT's `lora_alpha`: the update is scaled by `alpha / rank`. Default 8. */
  alpha?: number;
  /** Last parts of the names of projections (`q_proj`, `c_attn` …), or `all-linear`. Default: q_proj and v_proj; c_attn for gpt2. */
  targets?: readonly string[] | 'all-linear';
  /** Scale by `alpha / sqrt(rank)` (Kalajdzievski 2023). Default false. */
  rslora?: boolean;
  seed?: number;
}

/** PEFT's names of an adapter's two matrices in `adapter_model.safetensors`. */
export const peftNames = (projection: string): { a: string; b: string } => ({ a: `base_model.model.${projection}.lora_A.weight`, b: `base_model.model.${projection}.lora_B.weight` });

/**
 * Freezes a decoder and gives it low-rank adapters to train instead: A uniform in ±1/sqrt(inputs) (PEFT's Kaiming start), B zero, so that the model
 * is unchanged at first.
 * @returns the names of the adapted projections
 * @throws EspalierError `bad_config` for a target that names no projection or a rank below 1; `usage` when the decoder has adapters already
 * @example
 * addLora(decoder, { rank: 16, alpha: 32, targets: 'all-linear', seed: 42 });
 */
export function addLora(decoder: Decoder, options: LoraOptions = {}): string[] {
  const { rank = 8, alpha = 8, rslora = false, seed = 0, targets = decoder.config.architecture === 'gpt2' ? ['c_attn'] : ['q_proj', 'v_proj'] } = options;
  if (decoder.adapters.size > 0) throw new EspalierError('usage', 'the model has LoRA adapters already', { fix: 'merge them first' });
  if (!Number.isInteger(rank) || rank < 1) throw new EspalierError('bad_config', `LoRA rank is ${rank}`, { fix: 'a whole number of at least 1' });
  if (!Number.isFinite(alpha)) throw new EspalierError('bad_config', `LoRA alpha is ${alpha}`, { fix: 'a number; twice the rank is usual' });
  const projections = projectionSpecs(decoder.config);
  const ending = (name: string) => name.slice(name.lastIndexOf('.') + 1);
  if (targets !== 'all-linear') {
    const known = [...new Set(projections.map(({ name }) => ending(name)))];
    const unknown = targets.filter((target) => !known.includes(target));
    if (unknown.length > 0 || targets.length === 0) throw new EspalierError('bad_config', `LoRA target ${unknown.map((t) => `"${t}"`).join(', ') || 'list is empty'}: no such projection`, { fix: `all-linear, or some of ${known.join(', ')}` });
  }
  for (const [name, parameter] of decoder.parameters) parameter.trainable = name === scoreName; // the head starts from nothing: it is trained whole, as with PEFT's modules_to_save
  const chosen = projections.filter(({ name }) => targets === 'all-linear' || targets.includes(ending(name)));
  for (const { name, inputs, outputs } of chosen) {
    const { uniform } = seededNumbers(seed, `${name}.lora_A`);
    const bound = 1 / Math.sqrt(inputs);
    const values = Float32Array.from({ length: rank * inputs }, () => bound * (2 * uniform() - 1));
    decoder.adapters.set(name, { a: owned(tensor(values, [rank, inputs])), b: owned(zeros([outputs, rank])), scale: rslora ? alpha / Math.sqrt(rank) : alpha / rank });
  }
  return chosen.map(({ name }) => name);
}

/** A trainable variable that takes over a tensor. */
function owned(initial: Tensor) {
  const result = variable(initial, true);
  initial.dispose();
  return result;
}

/** Adds every adapter to the weight that it adapts, `W += scale B A`, and removes it. The model's own parameters are trainable again. */
export function mergeLora(decoder: Decoder): void {
  for (const [name, { a, b, scale }] of decoder.adapters) {
    const weight = decoder.parameters.get(`${name}.weight`)!;
    const columns = transpose(a); // [in, rank]
    const update = linear(b, columns); // [out, in]
    const merged = addInPlace(weight, update, scale);
    weight.assign(merged);
    for (const used of [columns, update, merged, a, b]) used.dispose();
  }
  decoder.adapters.clear();
  for (const parameter of decoder.parameters.values()) parameter.trainable = true;
}
