import type { TensorInfo } from '@tensorflow/tfjs-core';

/**
 * Linear layers of one input. Inputs that each layer has are numbered, `w0`, `w1`, …: see {@link numbered}. A kernel whose gradient saves inputs has a name for each number of
 * layers, because tfjs saves inputs by names that are fixed.
 */
export type NumberedInputs = Readonly<Record<string, TensorInfo>>;

/** How many layers a kernel may have. */
export const mostLayers = 3;

/** `numbered('w', [a, b])` is `{ w0: a, w1: b }`. */
export const numbered = <T>(name: string, items: readonly T[]): Record<string, T> => Object.fromEntries(items.map((item, i) => [`${name}${i}`, item]));

/** The inputs `w0`, `w1`, … of a kernel. */
export function layersOf<T>(inputs: Readonly<Record<string, T>>, name: string): T[] {
  const found: T[] = [];
  for (let i = 0; `${name}${i}` in inputs; i++) found.push(inputs[`${name}${i}`]);
  return found;
}

/** `x [T, K]`, `wᵢ [Nᵢ, K]`, `biasᵢ? [Nᵢ]` → each `yᵢ [T, Nᵢ] = x wᵢᵀ + biasᵢ`. */
export const EspalierLinears = (layers: number): string => `EspalierLinears${layers}`;

/** `dyᵢ [T, Nᵢ]`, `wᵢ [Nᵢ, K]` → `dx [T, K] = Σ dyᵢ wᵢ`. */
export const EspalierLinearsGradX = 'EspalierLinearsGradX';

/** `x [T, K]`, `dyᵢ [T, Nᵢ]`, `wᵢ [Nᵢ, K]` → `dx [T, K]`, as above, and each `dwᵢ [Nᵢ, K] = dyᵢᵀ x`. */
export const EspalierLinearsGrad = 'EspalierLinearsGrad';

/** The scale of each layer's low-rank adapter. */
export interface AdaptedLinearsAttrs {
  scales: readonly number[];
}

/**
 * `x [T, K]`, `wᵢ [Nᵢ, K]`, `biasᵢ? [Nᵢ]`, `aᵢ [rᵢ, K]`, `bᵢ [Nᵢ, rᵢ]` → each `yᵢ [T, Nᵢ] = x wᵢᵀ + biasᵢ + hᵢ bᵢᵀ`, and then `h [T, Σ rᵢ]`: the `hᵢ = scaleᵢ · x aᵢᵀ`, side by side (Hu et al. 2021, eq. 3).
 */
export const EspalierAdaptedLinears = (layers: number): string => `EspalierAdaptedLinears${layers}`;

/** `x`, `h`, `dyᵢ [T, Nᵢ]`, `wᵢ`, `aᵢ`, `bᵢ` → `dx [T, K] = Σ dyᵢ wᵢ + gᵢ aᵢ`, each `daᵢ = gᵢᵀ x`, each `dbᵢ = dyᵢᵀ hᵢ`, `gᵢ = scaleᵢ · dyᵢ bᵢ`; `wᵢ` and `biasᵢ` are frozen. */
export const EspalierAdaptedLinearsGrad = 'EspalierAdaptedLinearsGrad';
