import type { RolloutEngine, WeightsHandle } from '@espalier/spec';
import { contractChecks, hasCode, outcome, using, within } from '../check';
import { demandSame, unchanged } from '../compare';
import { demand, show } from '../contract-violation';
import { demandIdentity, demandOptionalMethods } from '../identity';
import { abortChecks } from './abort-checks';
import { generateAll, tokensOf } from './completions';
import { scoreChecks } from './score-checks';
import type { RolloutEngineSubject } from './subject';

const reproducible = 'Sample k of a request is determined by (seed, k, position), so that a run that resumes comes to the same tokens.';

/** The contract of a {@link RolloutEngine}, check by check. */
export const rolloutEngineChecks = contractChecks('a rollout engine', {
  'speaks v1 and says what it can do': ({ create }: RolloutEngineSubject) =>
    using(create, async (engine) => {
      demandIdentity(engine, 'a rollout engine', ['generate', 'close']);
      demandOptionalMethods(engine, 'a rollout engine', ['score', 'scoreContinuations', 'sync']);
      const { tokenIds, logps, sync } = engine.capabilities;
      for (const [name, value] of Object.entries({ tokenIds, logps })) demand(typeof value === 'boolean', `\`capabilities.${name}\` to be true or false`, () => show(value), 'Hosts decide by it, before anything is sampled.');
      demand(['memory', 'adapter', 'full', 'none'].includes(sync), '`capabilities.sync` to be memory, adapter, full or none', () => show(sync), 'It says how new weights come to the engine.');
      demand(sync === 'none' || engine.sync !== undefined, `the method \`sync\`, as \`capabilities.sync\` is ${show(sync)}`, 'none', 'The engine would sample with its first weights for ever.');
      demand(tokenIds || !logps, 'log-probs only where there are token ids', 'logps: true with tokenIds: false', 'A log-prob belongs to a token.');
    }),

  'answers every sample of every request once': (subject: RolloutEngineSubject) =>
    using(subject.create, async (engine) => void (await generateAll(engine, [subject.request(0, { n: 3 }), subject.request(1), subject.request(2, { n: 2 }), subject.request(3, { sampling: { maxNewTokens: 1 } })]))),

  'answers no request with nothing': ({ create }: RolloutEngineSubject) => using(create, async (engine) => void (await generateAll(engine, []))),

  'gives the same tokens for the same seed, whatever they are batched with': (subject: RolloutEngineSubject) =>
    using(subject.create, async (engine) => {
      const request = subject.request(0, { n: 2 });
      const alone = await generateAll(engine, [request]);
      const crowd = await generateAll(engine, [subject.request(1, { n: 3 }), request, subject.request(2)]);
      const again = new Map([...crowd].filter(([, { requestId }]) => requestId === request.id));
      demandSame(tokensOf(alone), tokensOf(again), { what: 'the tokens of a request in another batch', as: 'to be those that it had alone', why: reproducible });
      for (const [key, { logps }] of alone) demandSame(logps, again.get(key)!.logps, { what: `the log-probs of ${show(key)} in another batch`, as: 'to be those that it had alone', why: reproducible, tolerance: subject.tolerance });
    }),

  'gives other tokens for another seed, and for another sample': (subject: RolloutEngineSubject) =>
    using(subject.create, async (engine) => {
      const one = Object.values(tokensOf(await generateAll(engine, [subject.request(0, { n: 4 })])));
      demand(new Set(one.map(String)).size > 1, 'the four samples of a request at temperature 1 not to be all the same', () => show(one[0]), 'A group without differences has no advantages.');
      const other = Object.values(tokensOf(await generateAll(engine, [subject.request(0, { n: 4, seed: 77_777 })])));
      demand(String(one) !== String(other), 'other samples for another seed', () => show(one[0]), 'Every step of a run would see the same samples.');
    }),

  'takes the likeliest tokens at temperature 0': (subject: RolloutEngineSubject) =>
    using(subject.create, async (engine) => {
      const greedy = { temperature: 0 };
      const [first, ...others] = Object.values(tokensOf(await generateAll(engine, [subject.request(0, { n: 2, sampling: greedy }), subject.request(0, { id: 'another seed', seed: 5, sampling: greedy })])));
      for (const other of others) demandSame(first, other, { what: 'a greedy sample', as: 'to be the same whatever its index and seed', why: 'Evaluations are greedy, and compared with one another.' });
    }),

  'ends at a stop token, and keeps it': (subject: RolloutEngineSubject) =>
    using(subject.create, async (engine) => {
      if (!engine.capabilities.tokenIds) return;
      const [free] = (await generateAll(engine, [subject.request(0, { sampling: { ignoreEos: true } })])).values();
      const place = Math.min(2, free.tokens.length - 1);
      const stop = free.tokens[place];
      const end = free.tokens.indexOf(stop) + 1;
      const [stopped] = (await generateAll(engine, [subject.request(0, { sampling: { ignoreEos: true, stopTokens: [stop] } })])).values();
      demandSame([...free.tokens.subarray(0, end)], [...stopped.tokens], { what: `the tokens up to the stop token ${stop}`, as: 'with the stop token at their end', why: 'The policy has to learn to end: the token that ended a sample is trained on.' });
      demand(stopped.finishReason === 'stop', `a sample that ends with the stop token ${stop} to end by \`stop\``, show(stopped.finishReason), 'Trainers mask what was cut off by it.');
    }),

  'ends at a stop string, and cuts the text before it': (subject: RolloutEngineSubject) =>
    using(subject.create, async (engine) => {
      const [free] = (await generateAll(engine, [subject.request(0)])).values();
      const stop = [...free.text].slice(1).find((character) => character !== '\uFFFD' && character.trim() !== '');
      if (stop === undefined) return; // the text has nothing to stop at
      const [stopped] = (await generateAll(engine, [subject.request(0, { sampling: { stop: [stop] } })])).values();
      demand(stopped.text === free.text.slice(0, free.text.indexOf(stop)), `the text ${show(free.text.slice(0, free.text.indexOf(stop)))}, which is cut before the stop string ${show(stop)}`, () => show(stopped.text), 'Reward functions read what stands before it.');
      demand(stopped.finishReason === 'stop', `a sample that comes to the stop string ${show(stop)} to end by \`stop\``, show(stopped.finishReason), 'Trainers mask what was cut off by its length.');
    }),

  'gives the likeliest tokens where they are asked for, or says that it cannot': (subject: RolloutEngineSubject) =>
    using(subject.create, async (engine) => {
      const { value, error } = await outcome(() => generateAll(engine, [subject.request(0, { topLogps: 3 })]));
      if (!value) return demand(hasCode(error, 'unsupported'), 'a request for the likeliest tokens to be served, or refused as `unsupported`', () => show(error), 'A caller can go without them only where it is told.');
      for (const { tokens, topLogps } of value.values()) {
        demand(topLogps?.tokens.length === 3 * tokens.length && topLogps.logps.length === 3 * tokens.length, `three tokens and log-probs for each of ${tokens.length} positions`, () => show(topLogps ?? null), 'What was asked for is there, or refused.');
        topLogps.logps.forEach((logp, i) => demand(Number.isFinite(logp) && logp <= 1e-4 && (i % 3 === 0 || logp <= topLogps.logps[i - 1]), 'log-probs that are finite and descend', () => show(topLogps.logps), 'The likeliest comes first.'));
      }
    }),

  'serves several callers at once': (subject: RolloutEngineSubject) =>
    using(subject.create, async (engine) => {
      const calls = [[subject.request(0, { n: 2 })], [subject.request(1)], [subject.request(2, { n: 2 })]];
      const alone: Record<string, number[]>[] = [];
      for (const requests of calls) alone.push(tokensOf(await generateAll(engine, requests)));
      const together = await Promise.all(calls.map((requests) => generateAll(engine, requests)));
      demandSame(alone, together.map(tokensOf), { what: 'the samples of calls at the same time', as: 'to be those of the calls one by one', why: reproducible });
    }),

  'does not change the requests': (subject: RolloutEngineSubject) =>
    using(subject.create, async (engine) => {
      const requests = [subject.request(0, { n: 2, sampling: { stopTokens: [1], stop: ['\u0000never'] } })];
      await unchanged(requests, 'the requests', 'The caller builds trajectories of them afterwards.', () => generateAll(engine, requests));
    }),

  ...abortChecks,
  ...scoreChecks,

  'takes over weights that it says it can, and refuses others': (subject: RolloutEngineSubject) =>
    using(subject.create, async (engine) => {
      if (!engine.sync) return;
      if (subject.weights) await engine.sync(await subject.weights());
      const handle = { version: 3, digest: 'd41d8cd9' };
      const foreign: WeightsHandle = engine.capabilities.sync === 'memory' ? { ...handle, kind: 'full', uri: 'file:///nowhere/at/all' } : { ...handle, kind: 'memory', id: 'of another process' };
      const { error } = await outcome(() => engine.sync!(foreign));
      demand(error !== undefined, `weights of kind ${show(foreign.kind)} to be refused by an engine whose sync is ${show(engine.capabilities.sync)}`, 'that it took them', 'A trainer would believe that it samples with new weights.');
      await generateAll(engine, [subject.request(0)]);
    }),

  'can be closed twice, and serves nothing afterwards': async (subject: RolloutEngineSubject) => {
    const engine: RolloutEngine = await subject.create();
    await generateAll(engine, [subject.request(0)]);
    await engine.close();
    await within(engine.close(), subject.patience, 'a second close to do nothing', 'Error paths close again what is closed.');
    const { error } = await within(outcome(() => generateAll(engine, [subject.request(0)])), subject.patience, 'a closed engine to refuse requests', 'A caller would wait for ever.');
    demand(hasCode(error, 'closed'), 'a closed engine to refuse requests with the code `closed`', () => (error === undefined ? 'that it answered' : show(error)), 'Whoever uses it after its end is told so, and not something else.');
  },
});
