import { TransientFailure } from '@espalier/spec/retry';

/** One sample, as `/v1/completions` gives it. */
export interface SampleAnswer {
  text: string;
  tokens: number[] | null;
  logps: number[] | null;
  finishReason: 'stop' | 'length';
}

interface Choice {
  index?: unknown;
  text?: unknown;
  finish_reason?: unknown;
  token_ids?: unknown;
  logprobs?: { tokens?: unknown; token_logprobs?: unknown; content?: unknown } | null;
}

/** Chat-style or plain, of one choice: names and log-probs of its tokens. */
function scoredOf(logprobs: NonNullable<Choice['logprobs']>): { names: unknown[]; logps: unknown[] } | null {
  if (Array.isArray(logprobs.content)) {
    const content = logprobs.content as { token?: unknown; logprob?: unknown; id?: unknown }[]; // llama.cpp's way, with ids
    return { names: content.map(({ id, token }) => (typeof id === 'number' ? `token_id:${id}` : token)), logps: content.map(({ logprob }) => logprob) };
  }
  if (!Array.isArray(logprobs.token_logprobs)) return null;
  return { names: Array.isArray(logprobs.tokens) ? logprobs.tokens : [], logps: logprobs.token_logprobs };
}

/**
 * The samples of one answer, whole or in pieces, by index. Nothing that is half there comes back.
 * @throws TransientFailure when a sample is missing, has not ended, or its log-probs do not fit its tokens
 */
export function samplesOf(events: readonly unknown[], n: number): SampleAnswer[] {
  const parts = Array.from({ length: n }, () => ({ text: '', tokens: [] as number[], names: [] as unknown[], logps: [] as unknown[], hasTokens: false, hasLogps: false, reason: null as string | null }));
  for (const event of events) {
    const choices = (event as { choices?: unknown } | null)?.choices;
    if (!Array.isArray(choices)) throw new TransientFailure('the answer has no choices');
    for (const choice of choices as Choice[]) {
      const part = parts[Number(choice.index ?? 0)];
      if (!part) throw new TransientFailure(`the answer has a choice ${String(choice.index)}, ${n} were asked for`);
      if (part.reason !== null && choice.finish_reason) throw new TransientFailure(`choice ${String(choice.index)} came twice`);
      if (typeof choice.text === 'string') part.text += choice.text;
      if (Array.isArray(choice.token_ids)) {
        part.tokens.push(...(choice.token_ids as number[]));
        part.hasTokens = true;
      }
      const scored = choice.logprobs && scoredOf(choice.logprobs);
      if (scored) {
        part.names.push(...scored.names);
        part.logps.push(...scored.logps);
        part.hasLogps = true;
      }
      if (typeof choice.finish_reason === 'string') part.reason = choice.finish_reason;
    }
  }
  return parts.map(({ text, tokens, names, logps, hasTokens, hasLogps, reason }, k) => {
    if (reason === null) throw new TransientFailure(`sample ${k} of ${n} is missing or has not ended`);
    if (reason === 'abort' || reason === 'aborted' || reason === 'error') throw new TransientFailure(`the server gave sample ${k} up (${reason})`);
    const named = names.map((name) => /^token_id:(\d+)$/.exec(String(name))?.[1]);
    const ids = hasTokens ? tokens : hasLogps && named.length > 0 && named.every((id) => id !== undefined) ? named.map(Number) : null;
    if (ids && !ids.every((id) => Number.isSafeInteger(id) && id >= 0)) throw new TransientFailure(`sample ${k} has token ids that are none`);
    if (hasLogps && !logps.every((logp) => typeof logp === 'number' && logp <= 1e-3)) throw new TransientFailure(`sample ${k} has log-probs that are none`);
    if (ids && hasLogps && logps.length !== ids.length) throw new TransientFailure(`sample ${k} has ${ids.length} tokens and ${logps.length} log-probs`);
    return { text, tokens: ids, logps: hasLogps ? (logps as number[]) : null, finishReason: reason === 'length' ? 'length' : 'stop' };
  });
}

/**
 * Log-probs of the tokens of a prompt, from `prompt_logprobs` or from an echo; the first is NaN.
 * @throws TransientFailure when they do not fit the prompt
 */
export function promptLogpsOf(event: unknown, prompt: Int32Array): Float32Array {
  const answer = event as { prompt_logprobs?: unknown; choices?: { prompt_logprobs?: unknown; logprobs?: { token_logprobs?: unknown } | null }[] } | null;
  const choice = answer?.choices?.[0];
  const table = choice?.prompt_logprobs ?? answer?.prompt_logprobs;
  let logps: unknown[];
  if (Array.isArray(table)) logps = (table as (Record<string, { logprob?: unknown } | number> | null)[]).map((entry, t) => (entry === null ? null : logprobOf(entry[String(prompt[t])])));
  else if (Array.isArray(choice?.logprobs?.token_logprobs)) logps = choice.logprobs.token_logprobs.slice(0, prompt.length);
  else throw new TransientFailure('the answer has no log-probs of the prompt');
  if (logps.length !== prompt.length) throw new TransientFailure(`the answer has ${logps.length} log-probs for a prompt of ${prompt.length} tokens`);
  return Float32Array.from(logps, (logp, t) => {
    if (t === 0) return NaN;
    if (typeof logp !== 'number') throw new TransientFailure(`the answer has no log-prob for token ${t} of the prompt`);
    return logp;
  });
}

const logprobOf = (entry: { logprob?: unknown } | number | undefined): unknown => (typeof entry === 'object' ? entry.logprob : entry);
