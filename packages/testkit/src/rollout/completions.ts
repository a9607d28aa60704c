import type { Completion, GenerateRequest, RolloutEngine } from '@espalier/spec';
import { demand, show } from '../contract-violation';

const reasons = ['stop', 'length', 'aborted', 'turns'];

/** Every completion of the requests, looked at one by one, each asked-for sample exactly once. By `<request>/<index>`. */
export async function generateAll(engine: RolloutEngine, requests: readonly GenerateRequest[], options: { signal?: AbortSignal; onCompletion?(completion: Completion): void } = {}): Promise<Map<string, Completion>> {
  const all = new Map<string, Completion>();
  const byId = new Map(requests.map((request) => [request.id, request]));
  const { signal, onCompletion } = options;
  for await (const completion of engine.generate(requests, signal ? { signal } : {})) {
    const request = byId.get(completion.requestId);
    const key = `${completion.requestId}/${completion.index}`;
    demand(request !== undefined, `completions of the requests ${show([...byId.keys()])}`, () => `one of ${show(completion.requestId)}`, 'A trainer would not know which prompt it belongs to.');
    demand(Number.isInteger(completion.index) && completion.index >= 0 && completion.index < (request.n ?? 1), `an index from 0 to ${(request.n ?? 1) - 1}`, show(completion.index), 'The index says which sample of a group it is.');
    demand(!all.has(key), `each sample once`, `${show(key)} twice`, 'It would count twice in its group.');
    demandCompletion(completion, request, engine.capabilities);
    all.set(key, completion);
    onCompletion?.(completion);
  }
  const missing = requests.flatMap(({ id, n = 1 }) => Array.from({ length: n }, (_, k) => `${id}/${k}`)).filter((key) => !all.has(key));
  demand(missing.length === 0, 'every sample of every request to be answered, an aborted one too', () => `none for ${show(missing)}`, 'A group that lacks a sample has wrong advantages.');
  return all;
}

function demandCompletion(completion: Completion, request: GenerateRequest, capabilities: RolloutEngine['capabilities']): void {
  const { tokens, logps, text, finishReason, version, requestId, index } = completion;
  const what = `sample ${index} of ${show(requestId)}`;
  const most = request.sampling?.maxNewTokens ?? 16;
  demand(reasons.includes(finishReason), `${what} to end by one of ${reasons.join(', ')}`, show(finishReason), 'Trainers mask what was cut off by it.');
  demand(tokens instanceof Int32Array && tokens.every((token) => token >= 0), `the tokens of ${what} to be an Int32Array of token ids`, () => show(tokens), 'Token ids are trained on as they come.');
  demand(tokens.length <= most, `at most ${most} new tokens in ${what}, the prompt not among them`, `${tokens.length}`, 'Batches are sized by it.');
  demand(typeof text === 'string', `the text of ${what} to be a string`, () => show(text), 'Reward functions read it.');
  demand(Number.isInteger(version), `the version of ${what} to be an integer`, () => show(version), 'It says which weights sampled, and so how stale the sample is.');
  if (capabilities.tokenIds && finishReason !== 'aborted') {
    demand(tokens.length > 0, `${what} to have tokens, as \`capabilities.tokenIds\` says`, 'none', 'Text is never tokenised again: without ids nothing can be trained on.');
    if (finishReason === 'length') demand(tokens.length === most, `${what}, which ends by \`length\`, to have ${most} tokens`, `${tokens.length}`, '`length` says that it was cut off.');
  }
  if (logps === null) return demand(!capabilities.logps, `${what} to have log-probs, as \`capabilities.logps\` says`, 'null', 'Importance ratios are computed from them.');
  demand(capabilities.logps, `${what} to have no log-probs, as \`capabilities.logps\` says`, () => show(logps), 'A host that believes the capabilities would not look at them.');
  demand(logps instanceof Float32Array && logps.length === tokens.length, `the log-probs of ${what} to be a Float32Array of ${tokens.length} numbers, one a token`, () => show(logps), 'Log-probs that are out of step belong to other tokens.');
  const bad = logps.findIndex((logp) => !(Number.isFinite(logp) && logp <= 1e-4));
  demand(bad < 0, `log-probs of ${what} in nats: finite, and at most 0`, () => `${logps[bad]} at token ${bad}`, 'Importance ratios are computed from them.');
}

/** Tokens alone, by sample. */
export const tokensOf = (completions: ReadonlyMap<string, Completion>): Record<string, number[]> => Object.fromEntries([...completions].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, { tokens }]) => [key, [...tokens]]));
