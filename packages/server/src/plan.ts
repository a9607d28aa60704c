import { randomInt } from 'node:crypto';
import type { GenerateRequest, SamplingOptions } from '@espalier/spec';
import { HttpError } from './http-error';
import type { ServerLimits } from './limits';
import type { ServedModel } from './models';
import type { SamplingBody } from './request-fields';

/** What one HTTP request asks of the engine. */
export interface Plan {
  /** One a prompt, `id` its number. */
  requests: readonly GenerateRequest[];
  prompts: readonly Int32Array[];
  n: number;
  /** Whether anything is to be generated: with `max_tokens: 0` a prompt is only scored. */
  generates: boolean;
  /** Whether the log-probs of the prompts are asked for. */
  scoresPrompt: boolean;
  stops: readonly string[];
}

export interface PlanOptions {
  maxTokens: number | undefined;
  defaultTokens: number;
  topLogps: number;
  scoresPrompt: boolean;
  limits: ServerLimits;
}

/**
 * From the fields of a request to what the engine generates, refused before anything is computed. Every prompt of a request has the request's seed, so
 * that a prompt is continued alike wherever in a list it stands.
 * @throws HttpError 400
 */
export function planRequests(model: ServedModel, prompts: readonly Int32Array[], body: SamplingBody, options: PlanOptions): Plan {
  const { limits, maxTokens, scoresPrompt } = options;
  const { maxPositions, config } = model.engine.info;
  const n = body.n ?? 1;
  if (prompts.length * n > limits.maxSamplesPerRequest) throw new HttpError(400, `the request asks for ${prompts.length * n} samples, one may ask for ${limits.maxSamplesPerRequest}`, { param: 'n' });
  const generates = maxTokens !== 0;
  if (!generates && !scoresPrompt) throw new HttpError(400, '`max_tokens` is 0, and no log-probs of the prompt are asked for', { param: 'max_tokens' });
  if (maxTokens !== undefined && maxTokens > limits.maxTokens) throw new HttpError(400, `\`max_tokens\` is ${maxTokens}, at most ${limits.maxTokens} may be`, { param: 'max_tokens' });
  if (body.temperature !== undefined && body.temperature > 0 && body.temperature < 1e-6) throw new HttpError(400, `\`temperature\` is ${body.temperature}: 0 (greedy) or at least 1e-6 would do`, { param: 'temperature' });

  const seed = body.seed ?? randomInt(2 ** 47);
  const stops = typeof body.stop === 'string' ? [body.stop] : (body.stop ?? []);
  const sampling: SamplingOptions = {
    minNewTokens: body.min_tokens,
    temperature: body.temperature,
    topK: body.top_k === undefined ? undefined : Math.max(0, body.top_k),
    topP: body.top_p,
    minP: body.min_p,
    repetitionPenalty: body.repetition_penalty,
    stop: stops,
    stopTokens: body.stop_token_ids,
    ignoreEos: body.ignore_eos,
  };
  const requests = prompts.map((prompt, i): GenerateRequest => {
    const where = prompts.length > 1 ? `prompt ${i}` : 'the prompt';
    if (prompt.length === 0) throw new HttpError(400, `${where} has no tokens`, { param: 'prompt' });
    const outside = prompt.find((token) => token < 0 || token >= config.vocabSize);
    if (outside !== undefined) throw new HttpError(400, `${where}: token ${outside} is outside the vocabulary of ${config.vocabSize}`, { param: 'prompt' });
    const left = maxPositions - prompt.length;
    if (left < (generates ? 1 : 0)) throw new HttpError(400, `${where} has ${prompt.length} tokens, the model has ${maxPositions} positions`, { param: 'prompt', code: 'context_length_exceeded' });
    if (maxTokens !== undefined && maxTokens > left) throw new HttpError(400, `${where} has ${prompt.length} tokens and \`max_tokens\` is ${maxTokens}; the model has ${maxPositions} positions, ${left} are left`, { param: 'max_tokens', code: 'context_length_exceeded' });
    const maxNewTokens = maxTokens ?? Math.min(options.defaultTokens, limits.maxTokens, left);
    if (generates && (body.min_tokens ?? 0) > maxNewTokens) throw new HttpError(400, `\`min_tokens\` is ${body.min_tokens}, more than the ${maxNewTokens} that may come`, { param: 'min_tokens' });
    return { id: String(i), prompt, n, seed, sampling: { ...sampling, maxNewTokens }, topLogps: options.topLogps };
  });
  return { requests, prompts, n, generates, scoresPrompt, stops };
}
