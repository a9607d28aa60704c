import type { Learner } from '@espalier/spec';
import { packRows, type TokenizedRow } from './rows';

/**
 * Mean negative log-likelihood (nats a token) and perplexity of rows under a learner's weights, over the tokens that the rows train on.
 * @param options.batchTokens tokens of a forward pass, at most (a longer row goes alone). Default 4096
 */
export async function evaluatePerplexity(
  learner: Learner,
  rows: readonly TokenizedRow[],
  options: { batchTokens?: number; signal?: AbortSignal } = {},
): Promise<{ nll: number; perplexity: number; tokens: number }> {
  const limit = options.batchTokens ?? 4096;
  let total = 0;
  let tokens = 0;
  let batch: TokenizedRow[] = [];
  let size = 0;
  const flush = async () => {
    if (batch.length === 0) return;
    const packed = packRows(batch);
    const { logps } = await learner.forward(packed, ['logps'], { signal: options.signal });
    for (const logp of logps!) total -= logp;
    tokens += packed.actionIndex.length;
    batch = [];
    size = 0;
  };
  for (const row of rows) {
    if (size + row.tokens.length > limit) await flush();
    batch.push(row);
    size += row.tokens.length;
  }
  await flush();
  const nll = tokens > 0 ? total / tokens : 0;
  return { nll, perplexity: Math.exp(nll), tokens };
}
