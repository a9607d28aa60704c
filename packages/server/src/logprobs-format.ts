import type { Tokenizer } from '@espalier/models';

/** Tokens with their log-probs, as both formats need them. */
export interface ScoredTokens {
  tokens: ArrayLike<number>; // [T]
  /** Nats; null where there is none (the first token of a prompt). */
  logps: readonly (number | null)[]; // [T]
  /** The likeliest at each position. */
  tops?: readonly ({ tokens: ArrayLike<number>; logps: ArrayLike<number> } | null)[]; // [T]
}

/** How tokens are written: as their text, or as `token_id:123`, which is never ambiguous. */
export type TokenName = (token: number) => string;

export function tokenNames(tokenizer: Pick<Tokenizer, 'decode'>, asIds: boolean): TokenName {
  return asIds ? (token) => `token_id:${token}` : (token) => tokenizer.decode([token]);
}

/** JSON has no minus infinity; OpenAI writes -9999 for it. */
const finite = (logp: number) => Math.max(logp, -9999);

/** `logprobs` of `/v1/completions`. `offset`: characters of text before the first token. */
export function completionLogprobs({ tokens, logps, tops }: ScoredTokens, name: TokenName, offset: number) {
  const names = Array.from({ length: tokens.length }, (_, t) => name(tokens[t]));
  let at = offset;
  return {
    text_offset: names.map((text) => {
      const start = at;
      at += text.length;
      return start;
    }),
    token_logprobs: logps.map((logp) => (logp === null ? null : finite(logp))),
    tokens: names,
    top_logprobs: tops ? logps.map((logp, t) => (logp === null ? null : topOf(tops[t], name, tokens[t], logp))) : null,
  };
}

/** The likeliest tokens, and the one that was sampled where it is not among them. */
function topOf(top: { tokens: ArrayLike<number>; logps: ArrayLike<number> } | null, name: TokenName, token: number, logp: number): Record<string, number> {
  const entries = Array.from({ length: top?.tokens.length ?? 0 }, (_, i) => [name(top!.tokens[i]), finite(top!.logps[i])] as const);
  // Two tokens may have one text: the likelier stays.
  return Object.fromEntries([[name(token), finite(logp)], ...entries.reverse()]);
}

/** `logprobs` of `/v1/chat/completions`. */
export function chatLogprobs({ tokens, logps, tops }: ScoredTokens, name: TokenName) {
  const entry = (token: number, logp: number) => {
    const text = name(token);
    return { token: text, logprob: finite(logp), bytes: [...new TextEncoder().encode(text)] };
  };
  return {
    content: logps.map((logp, t) => {
      const top = tops?.[t];
      return { ...entry(tokens[t], logp!), top_logprobs: Array.from({ length: top?.tokens.length ?? 0 }, (_, i) => entry(top!.tokens[i], top!.logps[i])) };
    }),
    refusal: null,
  };
}

/** `prompt_logprobs`, as vLLM writes them for `prompt_logprobs: 0`: of each token its own, null for the first. */
export function promptLogprobs(tokens: Int32Array, logps: Float32Array, name: TokenName): (Record<string, { logprob: number; decoded_token: string }> | null)[] {
  return Array.from(tokens, (token, t) => (t === 0 ? null : { [token]: { logprob: finite(logps[t]), decoded_token: name(token) } }));
}
