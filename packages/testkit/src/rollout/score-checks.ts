import { using } from '../check';
import { demandSame } from '../compare';
import { demand, show } from '../contract-violation';
import { generateAll } from './completions';
import type { RolloutEngineSubject } from './subject';

const joined = (...parts: readonly Int32Array[]) => Int32Array.from(parts.flatMap((part) => [...part]));

/** What a rollout engine says of given tokens, where it says anything. */
export const scoreChecks = {
  'scores sequences: a log-prob a token, NaN for the first': (subject: RolloutEngineSubject) =>
    using(subject.create, async (engine) => {
      if (!engine.score) return;
      const none = await engine.score([]);
      demand(none.length === 0, 'no scores for no sequence', () => show(none), 'Scores are matched with sequences by their place.');
      const sequences = subject.prompts.map((prompt) => joined(prompt, prompt));
      const scores = await engine.score(sequences);
      demand(scores.length === sequences.length, `${sequences.length} scores, one a sequence`, `${scores.length}`, 'Scores are matched with sequences by their place.');
      scores.forEach((logps, s) => {
        demand(logps.length === sequences[s].length, `${sequences[s].length} log-probs of sequence ${s}, one a token`, `${logps.length}`, 'Log-probs that are out of step belong to other tokens.');
        demand(Number.isNaN(logps[0]), `entry 0 of sequence ${s} to be NaN`, String(logps[0]), 'Nothing precedes the first token: a number there would be taken for its log-prob.');
        const bad = logps.findIndex((logp, t) => t > 0 && !(Number.isFinite(logp) && logp <= 1e-4));
        demand(bad < 0, `log-probs of sequence ${s} in nats: finite, and at most 0`, () => `${logps[bad]} at ${bad}`, 'Perplexities and importance ratios are computed from them.');
      });
      demandSame([...scores[0]], [...(await engine.score([sequences[0]]))[0]], { what: 'the score of a sequence alone', as: 'to be that in a batch', why: 'A score says something about the sequence alone.', tolerance: subject.tolerance });
    }),

  'samples with the log-probs that it scores': (subject: RolloutEngineSubject) =>
    using(subject.create, async (engine) => {
      if (!engine.score || !engine.capabilities.logps) return;
      const requests = subject.prompts.map((_, i) => subject.request(i));
      const completions = await generateAll(engine, requests);
      for (const request of requests) {
        const { tokens, logps } = completions.get(`${request.id}/0`)!;
        const [scored] = await engine.score([joined(request.prompt, tokens)]);
        demandSame(Float32Array.from(scored.subarray(request.prompt.length)), logps, { what: `the log-probs of the sample of ${show(request.id)} at temperature 1`, as: 'as `score` gives them', why: 'Otherwise importance ratios are wrong from the first step on.', tolerance: subject.tolerance });
      }
    }),

  'scores continuations as the sums of their tokens': (subject: RolloutEngineSubject) =>
    using(subject.create, async (engine) => {
      if (!engine.score || !engine.scoreContinuations) return;
      const [prompt, ...continuations] = subject.prompts;
      const [sums, ...rest] = await engine.scoreContinuations([{ prompt, continuations }, { prompt: continuations[0], continuations: [prompt] }]);
      demand(rest.length === 1 && rest[0].length === 1 && sums.length === continuations.length, 'a number a continuation', () => show([sums, ...rest]), 'Options are compared by their place.');
      const scores = await engine.score(continuations.map((continuation) => joined(prompt, continuation)));
      const expected = scores.map((logps) => logps.subarray(prompt.length).reduce((a, b) => a + b, 0));
      demandSame(expected, [...sums], { what: 'the log-probs of continuations', as: 'as the sums of what `score` gives', why: 'Judges choose by them.', tolerance: subject.tolerance });
    }),
} as const;
