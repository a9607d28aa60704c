import { describe, it } from 'vitest';
import { expectConformance, expectViolation } from '../test-support';
import { rolloutEngineChecks as checks } from './checks';
import { scriptedEngine, type Script } from './test-support';
import { rolloutEngineSubject } from './subject';

const subject = (script: Script = {}) => rolloutEngineSubject(() => scriptedEngine(script), { patience: 100 });
type Check = keyof typeof checks;

describe('a rollout engine that keeps its contract', () => {
  it('passes', () => expectConformance(checks, rolloutEngineSubject(() => scriptedEngine(), { weights: () => ({ kind: 'memory', id: 'x', version: 2, digest: '1' }) })));
  it('passes with text alone', () => expectConformance(checks, rolloutEngineSubject(() => scriptedEngine({ capabilities: { logps: false, sync: 'none' }, more: { score: undefined, scoreContinuations: undefined, sync: undefined } }))));
});

describe('a rollout engine that does not', () => {
  it.each<[Check, Script, RegExp]>([
    ['speaks v1 and says what it can do', { more: { specVersion: 'v2' as 'v1' } }, /specVersion "v1" of a rollout engine; found "v2"/],
    ['speaks v1 and says what it can do', { capabilities: { tokenIds: 'yes' as never } }, /`capabilities\.tokenIds` to be true or false; found "yes"/],
    ['speaks v1 and says what it can do', { capabilities: { sync: 'disk' as never } }, /`capabilities\.sync` to be memory, adapter, full or none; found "disk"/],
    ['speaks v1 and says what it can do', { more: { sync: undefined } }, /the method `sync`, as `capabilities\.sync` is "memory"; found none\. The engine would sample with its first weights for ever/],
    ['speaks v1 and says what it can do', { capabilities: { tokenIds: false } }, /log-probs only where there are token ids; found logps: true with tokenIds: false/],
    ['answers every sample of every request once', { completion: (made) => (made.index === 1 ? null : made) }, /every sample of every request to be answered, an aborted one too; found none for \["request 0\/1","request 2\/1"\]\. A group that lacks a sample/],
    ['answers every sample of every request once', { completion: (made) => [made, made] }, /each sample once; found "request 0\/0" twice\. It would count twice/],
    ['answers every sample of every request once', { completion: (made) => ({ ...made, requestId: 'x' }) }, /completions of the requests .*; found one of "x"/],
    ['answers every sample of every request once', { completion: (made) => ({ ...made, index: made.index + 1 }) }, /an index from 0 to 2; found 3/],
    ['answers every sample of every request once', { completion: (made) => ({ ...made, finishReason: 'eos' as never }) }, /to end by one of stop, length, aborted, turns; found "eos"/],
    ['answers every sample of every request once', { completion: (made, { prompt }) => ({ ...made, tokens: Int32Array.from([...prompt, ...made.tokens]) }) }, /at most 8 new tokens in sample 0 of "request 0", the prompt not among them; found 11/],
    ['answers every sample of every request once', { completion: (made) => ({ ...made, tokens: new Int32Array(0) }) }, /to have tokens, as `capabilities\.tokenIds` says; found none\. Text is never tokenised again/],
    ['answers every sample of every request once', { completion: (made) => ({ ...made, logps: null }) }, /to have log-probs, as `capabilities\.logps` says; found null\. Importance ratios/],
    ['answers every sample of every request once', { capabilities: { logps: false }, completion: (made) => ({ ...made, logps: new Float32Array(made.tokens.length) }) }, /to have no log-probs, as `capabilities\.logps` says; found Float32Array/],
    ['answers every sample of every request once', { completion: (made) => ({ ...made, logps: made.logps!.slice(1) }) }, /a Float32Array of 8 numbers, one a token; found/],
    ['answers every sample of every request once', { completion: (made) => ({ ...made, logps: made.logps!.map((logp) => Math.exp(logp)) }) }, /in nats: finite, and at most 0; found 0\.\d+ at token 0/],
    ['answers every sample of every request once', { completion: (made) => ({ ...made, logps: made.logps!.map((logp, t) => (t === 2 ? NaN : logp)) }) }, /found NaN at token 2/],
    ['answers every sample of every request once', { completion: (made) => (made.tokens.length > 1 ? { ...made, tokens: made.tokens.slice(1), logps: made.logps!.slice(1) } : made) }, /which ends by `length`, to have 8 tokens; found 7/],
    ['answers every sample of every request once', { completion: (made) => ({ ...made, version: undefined as never }) }, /the version of sample 0 of "request 0" to be an integer; found undefined/],
    ['gives the same tokens for the same seed, whatever they are batched with', { token: ({ seed }, k, t, batched) => 3 + ((seed + k * 5 + t * 7 + batched) % 40) }, /the tokens of a request in another batch to be those that it had alone .* determined by \(seed, k, position\)/],
    ['gives other tokens for another seed, and for another sample', { token: ({ seed }, _, t) => 3 + ((seed + t * 7) % 40) }, /the four samples of a request at temperature 1 not to be all the same; found .* A group without differences/],
    ['gives other tokens for another seed, and for another sample', { token: (_, k, t) => 3 + ((k * 5 + t * 7) % 40) }, /other samples for another seed; found/],
    ['takes the likeliest tokens at temperature 0', { token: ({ seed }, k, t) => 3 + ((seed + k * 5 + t * 7) % 40) }, /a greedy sample to be the same whatever its index and seed/],
    ['ends at a stop token, and keeps it', { completion: (made) => (made.finishReason === 'stop' ? { ...made, tokens: made.tokens.slice(0, -1), logps: made.logps!.slice(0, -1) } : made) }, /with the stop token at their end .* the token that ended a sample is trained on/],
    ['ends at a stop token, and keeps it', { completion: (made) => ({ ...made, finishReason: made.tokens.length < 8 ? 'turns' : made.finishReason }) }, /to end by `stop`; found "turns"/],
    ['ends at a stop string, and cuts the text before it', { completion: (made) => ({ ...made, text: made.tokens.join(' ') }) }, /the text "3", which is cut before the stop string "4"; found "34"\. Reward functions read/],
    ['ends at a stop string, and cuts the text before it', { completion: (made) => ({ ...made, finishReason: made.finishReason === 'stop' ? 'turns' : made.finishReason }) }, /a sample that comes to the stop string "4" to end by `stop`; found "turns"/],
    ['gives the likeliest tokens where they are asked for, or says that it cannot', { completion: ({ topLogps: _, ...made }) => made }, /three tokens and log-probs for each of 8 positions; found null/],
    ['gives the likeliest tokens where they are asked for, or says that it cannot', { completion: (made) => ({ ...made, topLogps: { ...made.topLogps!, logps: made.topLogps!.logps.slice().reverse() } }) }, /log-probs that are finite and descend/],
    ['serves several callers at once', { token: racing() }, /the samples of calls at the same time to be those of the calls one by one/],
    ['does not change the requests', { completion: (made, { prompt }) => (prompt.fill(0), made) }, /the requests as it was given .* builds trajectories of them/],
    ['gives everything back as aborted where the signal has fired before', { aborts: false }, /whose signal had fired, to end by `aborted`; found "length"/],
    ['gives everything back as aborted where the signal has fired before', { throwsOnAbort: true }, /to end with its samples as `aborted`; found the error "aborted"/],
    ['gives everything back as aborted where the signal has fired before', { completion: (made) => (made.finishReason === 'aborted' ? null : made) }, /every sample .* an aborted one too; found none for/],
    ['gives what is under way back as aborted when the signal fires', { aborts: false }, /samples of 48 tokens to be `aborted` when the signal fires after one of 1 token; found .*length/],
    ['gives what is under way back as aborted when the signal fires', { more: { generate: hangsOnAbort } }, /a generation whose signal fires to end; found nothing after 100 ms\. A trainer that stops/],
    ['keeps an abort to the call that it was meant for', { more: { generate: abortsAll() } }, /a call whose signal has not fired to go on when another is aborted; found \[.*"request 1\/2"\] aborted/],
    ['scores sequences: a log-prob a token, NaN for the first', { more: { score: async (sequences) => sequences.map((sequence) => new Float32Array(sequence.length).fill(-1)) } }, /entry 0 of sequence 0 to be NaN; found -1\. Nothing precedes the first token/],
    ['scores sequences: a log-prob a token, NaN for the first', { more: { score: async (sequences) => sequences.map((sequence) => new Float32Array(sequence.length - 1).fill(-1)) } }, /6 log-probs of sequence 0, one a token; found 5/],
    ['scores sequences: a log-prob a token, NaN for the first', { more: { score: async (sequences) => sequences.slice(1).map(() => Float32Array.of(NaN)) } }, /3 scores, one a sequence; found 2/],
    ['samples with the log-probs that it scores', { completion: (made) => ({ ...made, logps: made.logps!.map((logp) => logp - 0.01) }) }, /the log-probs of the sample of "request 0" at temperature 1 as `score` gives them .* wrong from the first step on/],
    ['scores continuations as the sums of their tokens', { more: { scoreContinuations: async (questions) => questions.map(({ continuations }) => continuations.map(() => -1)) } }, /the log-probs of continuations as the sums of what `score` gives .* Judges choose by them/],
    ['takes over weights that it says it can, and refuses others', { more: { sync: async () => undefined } }, /weights of kind "full" to be refused by an engine whose sync is "memory"; found that it took them/],
    ['can be closed twice, and serves nothing afterwards', { closes: 'never' }, /a second close to do nothing; found nothing after 100 ms/],
    ['can be closed twice, and serves nothing afterwards', { closes: 'silently' }, /a closed engine to refuse requests with the code `closed`; found that it answered/],
  ])('fails "%s": %#', (check, script, message) => expectViolation(checks[check], subject(script), message));
});

/** Samples of a call see the calls that were made before it. */
function racing(): Script['token'] {
  let calls = 0;
  return ({ seed, id }, k, t) => {
    if (id === 'request 1') calls++;
    return 3 + ((seed + k * 5 + t * 7 + (calls > 8 ? 1 : 0)) % 40);
  };
}

/** One signal stops all. */
function abortsAll(): ReturnType<typeof scriptedEngine>['generate'] {
  const stop = new AbortController();
  return (requests, options) => {
    options?.signal?.addEventListener('abort', () => stop.abort());
    return scriptedEngine().generate(requests, { signal: stop.signal });
  };
}

async function* hangsOnAbort(...[requests, options]: Parameters<ReturnType<typeof scriptedEngine>['generate']>): ReturnType<ReturnType<typeof scriptedEngine>['generate']> {
  for await (const made of scriptedEngine().generate(requests)) {
    yield made;
    if (options?.signal?.aborted) await new Promise(() => undefined);
  }
}
