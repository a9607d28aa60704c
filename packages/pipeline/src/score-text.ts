import type { Engine } from '@espalier/engine';
import { EspalierError, throwIfAborted } from '@espalier/spec';

export interface TextScore {
  tokens: Int32Array;
  /** `logps[i]` (nats) belongs to `tokens[i + 1]`. */
  logps: Float32Array;
  /** Mean of `-logps` over the predicted tokens. */
  nll: number;
  /** exp(nll) */
  perplexity: number;
}

/**
 * Scores a text under a model. A text longer than `maxLength` is scored in windows that overlap by half: every token is predicted once, from at least
 * `maxLength / 2` tokens before it.
 *
 * @throws EspalierError `bad_data` when the text has fewer than two tokens
 * @example
 * const { perplexity } = await scoreText(engine, 'The sun rises in the east.');
 */
export async function scoreText(engine: Engine, text: string, options: { maxLength?: number; signal?: AbortSignal } = {}): Promise<TextScore> {
  const tokens = engine.tokenizer.encode(text, { addSpecialTokens: true });
  if (tokens.length < 2) throw new EspalierError('bad_data', `a text of ${tokens.length} token${tokens.length === 1 ? '' : 's'} has nothing to predict`, { fix: 'two tokens are the least' });
  const window = Math.min(options.maxLength ?? engine.info.maxPositions, engine.info.maxPositions);
  if (window < 2) throw new EspalierError('bad_config', `a context of ${window} token predicts nothing`, { fix: '2 is the least' });
  const logps = new Float32Array(tokens.length - 1);
  const stride = Math.max(1, window >> 1);
  for (let start = 0, scored = 1; scored < tokens.length; start += stride) {
    throwIfAborted(options.signal);
    const end = Math.min(start + window, tokens.length);
    const [values] = await engine.score([tokens.slice(start, end)]); // [end - start], entry 0 NaN
    for (let t = scored; t < end; t++) logps[t - 1] = values[t - start];
    scored = end;
  }
  const nll = -logps.reduce((sum, logp) => sum + logp, 0) / logps.length;
  return { tokens, logps, nll, perplexity: Math.exp(nll) };
}
