import { isInt32Array } from 'node:util/types';
import { EspalierError, type GenerateRequest } from '@espalier/spec';

/** A request with every default filled in. */
export interface ResolvedRequest {
  id: string;
  prompt: Int32Array;
  n: number;
  seed: number;
  maxNewTokens: number;
  minNewTokens: number;
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  stop: readonly string[];
  topLogps: number;
  /** Tokens that end a sample: the request's own, and the model's end-of-sequence tokens unless they are ignored. */
  stopTokens: ReadonlySet<number>;
}

interface Limits {
  vocabSize: number;
  maxPositions: number;
  eosTokenIds: readonly number[];
}

/**
 * Fills in the defaults and refuses what cannot be generated.
 * @throws EspalierError `bad_data` for a prompt that is no Int32Array, empty, too long or outside the vocabulary; `bad_config` for a sampling option that is out of range
 */
export function resolveRequest(request: GenerateRequest, limits: Limits): ResolvedRequest {
  const where = `request "${request.id}"`;
  const { prompt, seed, n = 1, sampling = {} } = request;
  if (!isInt32Array(prompt)) throw new EspalierError('bad_data', `${where}: the prompt is not an Int32Array`, { fix: 'give token ids as `Int32Array.from(tokens)`, or what `engine.tokenizer.encode` returns' });
  const resolved = {
    id: request.id,
    prompt,
    n,
    seed,
    maxNewTokens: sampling.maxNewTokens ?? 16,
    minNewTokens: sampling.minNewTokens ?? 0,
    temperature: sampling.temperature ?? 1,
    topK: sampling.topK ?? 0,
    topP: sampling.topP ?? 1,
    minP: sampling.minP ?? 0,
    repetitionPenalty: sampling.repetitionPenalty ?? 1,
    topLogps: request.topLogps ?? 0,
    stop: (sampling.stop ?? []).filter((stop) => stop.length > 0),
    stopTokens: new Set([...(sampling.stopTokens ?? []), ...(sampling.ignoreEos ? [] : limits.eosTokenIds)]),
  };
  if (prompt.length === 0) throw new EspalierError('bad_data', `${where} has an empty prompt`, { fix: 'begin it with at least one token, such as the beginning-of-sequence token' });
  for (const token of prompt) if (token < 0 || token >= limits.vocabSize) throw new EspalierError('bad_data', `${where}: token ${token} is outside the vocabulary of ${limits.vocabSize}`, { fix: 'use the tokenizer of this model' });
  const rules: readonly [boolean, string, number, string][] = [
    [Number.isInteger(n) && n >= 1, 'n', n, 'an integer from 1'],
    [Number.isSafeInteger(seed) && seed >= 0, 'seed', seed, 'an integer from 0 to 2^53 - 1'],
    [Number.isInteger(resolved.maxNewTokens) && resolved.maxNewTokens >= 1, 'maxNewTokens', resolved.maxNewTokens, 'an integer from 1'],
    [Number.isInteger(resolved.minNewTokens) && resolved.minNewTokens >= 0 && resolved.minNewTokens <= resolved.maxNewTokens, 'minNewTokens', resolved.minNewTokens, 'an integer from 0 to maxNewTokens'],
    [resolved.temperature === 0 || (resolved.temperature >= 1e-6 && Number.isFinite(resolved.temperature)), 'temperature', resolved.temperature, '0 (greedy) or a number from 1e-6'],
    [Number.isInteger(resolved.topK) && resolved.topK >= 0, 'topK', resolved.topK, '0 (off) or a positive integer'],
    [resolved.topP > 0 && resolved.topP <= 1, 'topP', resolved.topP, 'a number above 0 and at most 1 (off)'],
    [resolved.minP >= 0 && resolved.minP <= 1, 'minP', resolved.minP, 'a number from 0 (off) to 1'],
    [Number.isInteger(resolved.topLogps) && resolved.topLogps >= 0 && resolved.topLogps <= 100, 'topLogps', resolved.topLogps, 'an integer from 0 to 100'],
    [resolved.repetitionPenalty > 0 && Number.isFinite(resolved.repetitionPenalty), 'repetitionPenalty', resolved.repetitionPenalty, 'a positive number; 1 is off'],
  ];
  for (const [ok, name, value, fix] of rules) if (!ok) throw new EspalierError('bad_config', `${where}: ${name} is ${value}`, { fix: `${fix} would do` });
  const length = prompt.length + resolved.maxNewTokens;
  if (length > limits.maxPositions)
    throw new EspalierError('bad_data', `${where} asks for ${prompt.length} prompt and ${resolved.maxNewTokens} new tokens, the model has ${limits.maxPositions} positions`, {
      fix: prompt.length < limits.maxPositions ? `at most ${limits.maxPositions - prompt.length} new tokens fit` : 'shorten the prompt',
    });
  return resolved;
}
