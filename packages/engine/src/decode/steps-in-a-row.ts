import { getBackend } from '@espalier/tensor';
import type { Sample } from './decoding';
import { drawsBlindly } from './sample-next';

/**
 * So many steps are computed in a row where nobody has to look at their tokens in between: of several steps only the first finds the processor's caches without what JavaScript needs. A sample
 * that ends among them is computed to the end of them, for nothing.
 */
const most = 4;

/** How many steps of these samples are computed before anybody looks at their tokens. */
export function stepsInARow(samples: readonly Sample[]): number {
  if (getBackend() !== 'native') return 1;
  let steps = most;
  for (const sample of samples) {
    const { call, request } = sample.group;
    if (call.progress || sample.text || !drawsBlindly(sample)) return 1;
    steps = Math.min(steps, request.maxNewTokens - sample.tokens.length);
  }
  return steps;
}
