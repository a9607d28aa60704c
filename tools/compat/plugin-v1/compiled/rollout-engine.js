import { defineRolloutEngine, EspalierError } from '@espalier/spec';
const logpOf = (token) => -0.25 - (token % 13) / 16;
/** Which token comes at a place: a function of seed, sample and place. */
function tokenAt({ seed, sampling }, sample, position) {
    return 3 + (sampling?.temperature === 0 ? position * 7 : (seed * 31 + sample * 17 + position * position * 5 + position) % 37);
}
/** Every option of sampling that v1 knows. Those that would change what comes out are refused. */
function served(sampling = {}) {
    const { maxNewTokens = 16, minNewTokens = 0, temperature = 1, topK = 0, topP = 1, minP = 0, repetitionPenalty = 1, stop = [], stopTokens = [], ignoreEos: _ = false } = sampling;
    if (minNewTokens > 0 || temperature < 0 || topK > 0 || topP < 1 || minP > 0 || repetitionPenalty !== 1)
        throw new EspalierError('unsupported', 'counting: this sampling is not served');
    return { maxNewTokens, stop, stopTokens };
}
/** A rollout engine without a model, with every method of the contract. */
export function countingEngine(_options) {
    let closed = false;
    let version = 1;
    const demandOpen = () => {
        if (closed)
            throw new EspalierError('closed', 'counting: the engine is closed');
    };
    function answer(request, index, signal) {
        const { maxNewTokens, stop, stopTokens } = served(request.sampling);
        const tokens = [];
        let text = '';
        let finishReason = 'length';
        while (tokens.length < maxNewTokens) {
            if (signal?.aborted) {
                finishReason = 'aborted';
                break;
            }
            tokens.push(tokenAt(request, index, tokens.length));
            text = tokens.join(' ');
            const cut = Math.min(...stop.map((each) => text.indexOf(each)).filter((at) => at >= 0));
            if (cut < Infinity)
                text = text.slice(0, cut);
            if (cut < Infinity || stopTokens.includes(tokens[tokens.length - 1])) {
                finishReason = 'stop';
                break;
            }
        }
        const likeliest = request.topLogps ?? 0;
        return {
            requestId: request.id, index, tokens: Int32Array.from(tokens), logps: Float32Array.from(tokens, logpOf), text, finishReason, version,
            ...(likeliest > 0 ? { topLogps: { tokens: Int32Array.from(tokens.flatMap((token) => Array.from({ length: likeliest }, (_, k) => token + k))), logps: Float32Array.from(tokens.flatMap((token) => Array.from({ length: likeliest }, (_, k) => logpOf(token) - k))) } } : {}),
        };
    }
    return defineRolloutEngine({
        name: 'counting',
        capabilities: { tokenIds: true, logps: true, sync: 'memory' },
        async *generate(requests, options = {}) {
            demandOpen();
            for (const request of requests)
                for (let index = 0; index < (request.n ?? 1); index++)
                    yield answer(request, index, options.signal);
        },
        score: async (sequences) => sequences.map((tokens) => Float32Array.from(tokens, (token, t) => (t === 0 ? NaN : logpOf(token)))),
        scoreContinuations: async (questions, _call) => questions.map(({ prompt: _, continuations }) => continuations.map((tokens) => tokens.reduce((sum, token) => sum + logpOf(token), 0))),
        async sync(weights) {
            if (weights.kind !== 'memory')
                throw new EspalierError('unsupported', `counting: it takes no weights from ${weights.uri}`);
            version = weights.version + Number(weights.id === '' || weights.digest === '');
        },
        async close() {
            closed = true;
        },
    });
}
