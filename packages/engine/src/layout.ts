import type { BatchPart } from './protocol';

/** Position of each token, counted from the start of its prefix. */
export function positionsOf(part: Pick<BatchPart, 'tokens' | 'offsets' | 'prefixOf'>): Int32Array {
  const positions = new Int32Array(part.tokens.length); // [T]
  for (let s = 0; s + 1 < part.offsets.length; s++) {
    const prefix = part.prefixOf[s];
    const start = prefix >= 0 ? part.offsets[prefix + 1] - part.offsets[prefix] : 0;
    for (let t = part.offsets[s]; t < part.offsets[s + 1]; t++) positions[t] = start + t - part.offsets[s];
  }
  return positions;
}

/** For each action the row of the hidden states that predicts it: the token before it, which for the first token after a prefix is the prefix's last. */
export function predictorsOf(part: BatchPart): Int32Array {
  const predictors = new Int32Array(part.actionIndex.length); // [A]
  for (let a = 0, s = 0; a < predictors.length; a++) {
    const t = part.actionIndex[a];
    while (part.offsets[s + 1] <= t) s++;
    predictors[a] = t > part.offsets[s] ? t - 1 : part.offsets[part.prefixOf[s] + 1] - 1;
  }
  return predictors;
}
