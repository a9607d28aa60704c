import { EspalierError, type RolloutEngine } from '@espalier/spec';

/** Anything that samples with `topLogps`: an engine, a rollout engine. */
export type EntropyProxy = Pick<RolloutEngine, 'generate'>;

/**
 * Entropy (nats) of a distribution that is cut to the given log-probs and made to sum to 1 again.
 * @example
 * topEntropy([Math.log(0.2), Math.log(0.2)]); // 0.6931…: two likeliest tokens, equally likely
 */
export function topEntropy(logps: ArrayLike<number>): number {
  const list = Array.from(logps).filter((logp) => logp > -Infinity);
  const most = Math.max(...list);
  const mass = list.reduce((sum, logp) => sum + Math.exp(logp - most), 0);
  return Math.log(mass) - list.reduce((sum, logp) => sum + (Math.exp(logp - most) / mass) * (logp - most), 0);
}

/**
 * How uncertain a model is about what follows each context: entropy over its `topK` likeliest next tokens, as Dong et al. 2025 (2506.08007, §4.1) choose
 * positions by. The longest the number can be is ln `topK`.
 * @throws EspalierError `unsupported` when the engine gives no log-probs of the likeliest tokens
 */
export async function topEntropies(proxy: EntropyProxy, contexts: readonly Int32Array[], options: { topK?: number; signal?: AbortSignal } = {}): Promise<number[]> {
  const { topK = 16, signal } = options;
  const entropies = new Array<number>(contexts.length).fill(NaN);
  const requests = contexts.map((prompt, i) => ({ id: String(i), prompt, seed: 0, topLogps: topK, sampling: { maxNewTokens: 1, temperature: 1, ignoreEos: true } }));
  for await (const { requestId, topLogps } of proxy.generate(requests, { signal })) {
    if (!topLogps) throw new EspalierError('unsupported', 'the proxy gives no log-probs of the likeliest tokens', { fix: 'the local engine, or one that serves `topLogps`' });
    entropies[Number(requestId)] = topEntropy(topLogps.logps.subarray(0, topK));
  }
  if (signal?.aborted) throw new EspalierError('aborted', 'the entropies of positions were not computed', { cause: signal.reason });
  return entropies;
}
