import { EspalierError, type Completion, type GenerateRequest, type RolloutEngine } from '@espalier/spec';

/** What can be wrong with the engine. */
export interface Script {
  capabilities?: Partial<RolloutEngine['capabilities']>;
  /** Changes a completion, or leaves it out, or gives several. */
  completion?(completion: Completion, request: GenerateRequest): Completion | null | readonly Completion[];
  token?(request: GenerateRequest, sample: number, position: number, batched: number): number;
  /** Whether it hears the signal. Default true. */
  aborts?: boolean;
  /** Throws when the signal fires, in place of giving samples back. */
  throwsOnAbort?: boolean;
  closes?: 'twice' | 'never' | 'silently';
  more?: Partial<RolloutEngine>;
}

const logpOf = (token: number) => -0.25 - (token % 13) / 16;

/** A rollout engine without a model: tokens are a function of seed, sample and position, log-probs of the token. */
export function scriptedEngine(script: Script = {}): RolloutEngine {
  const capabilities: RolloutEngine['capabilities'] = { tokenIds: true, logps: true, sync: 'memory', ...script.capabilities };
  const token = script.token ?? (({ seed, sampling }, sample, position) => 3 + (sampling?.temperature === 0 ? position * 7 : (seed * 31 + sample * 17 + position * position * 5 + position) % 37));
  let closed = false;
  let closes = 0;
  const open = () => {
    if (closed) throw new EspalierError('closed', 'the engine is closed');
  };
  async function* generate(requests: readonly GenerateRequest[], { signal }: { signal?: AbortSignal } = {}): AsyncGenerator<Completion> {
    if (script.closes !== 'silently') open();
    for (const request of requests) {
      for (let index = 0; index < (request.n ?? 1); index++) {
        const { maxNewTokens = 16, stopTokens = [], stop = [] } = request.sampling ?? {};
        const cut = () => Math.min(...stop.map((text) => tokens.join(' ').indexOf(text)).filter((at) => at >= 0));
        const tokens: number[] = [];
        let finishReason: Completion['finishReason'] = 'length';
        while (tokens.length < maxNewTokens) {
          if (signal?.aborted && script.throwsOnAbort) throw new EspalierError('aborted', 'aborted');
          if (signal?.aborted && script.aborts !== false) {
            finishReason = 'aborted';
            break;
          }
          tokens.push(token(request, index, tokens.length, requests.length));
          if (stopTokens.includes(tokens.at(-1)!) || cut() < Infinity) {
            finishReason = 'stop';
            break;
          }
        }
        const made: Completion = { requestId: request.id, index, tokens: Int32Array.from(tokens), logps: capabilities.logps ? Float32Array.from(tokens, logpOf) : null, text: tokens.join(' ').slice(0, cut()), finishReason, version: 1 };
        if (request.topLogps) made.topLogps = { tokens: Int32Array.from(tokens.flatMap((first) => [first, first + 1, first + 2])), logps: Float32Array.from(tokens.flatMap((first) => [logpOf(first), -2, -3])) };
        await Promise.resolve();
        const given = script.completion ? script.completion(made, request) : made;
        for (const each of given === null ? [] : Array.isArray(given) ? (given as readonly Completion[]) : [given as Completion]) yield each;
      }
    }
  }
  const score = async (sequences: readonly Int32Array[]) => sequences.map((sequence) => Float32Array.from(sequence, (id, t) => (t === 0 ? NaN : logpOf(id))));
  return {
    specVersion: 'v1',
    name: 'scripted',
    capabilities,
    generate,
    score,
    scoreContinuations: async (questions) => questions.map(({ continuations }) => continuations.map((continuation) => continuation.reduce((sum, id) => sum + logpOf(id), 0))),
    sync: async ({ kind }) => {
      if (kind !== capabilities.sync) throw new EspalierError('unsupported', `it takes no weights of kind ${kind}`);
    },
    close: async () => {
      if (script.closes === 'twice' && closes++ > 0) throw new Error('it is closed already');
      if (script.closes === 'never' && closed) return new Promise(() => undefined);
      closed = true;
    },
    ...script.more,
  };
}
