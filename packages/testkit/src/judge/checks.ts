import type { Comparison, Judge, Preference } from '@espalier/spec';
import { contractChecks, hasCode, outcome, within } from '../check';
import { demandJson, demandSame, unchanged } from '../compare';
import { demand, show } from '../contract-violation';
import { demandIdentity, demandOptionalMethods } from '../identity';
import type { JudgeSubject } from './subject';

const resumes = 'Labels are kept and continued: a run that resumes must come to the same ones.';

function demandPreference(preference: unknown, comparison: Comparison): void {
  const what = `the answer to ${show(comparison.first)} or ${show(comparison.second)}`;
  if (preference === null) return;
  demand(typeof preference === 'object', `${what} to be { probability }, or null where it could not be read`, () => show(preference), 'A pair that is not judged is excluded, and never a draw.');
  const { probability, details } = preference as Partial<Preference>;
  demand(typeof probability === 'number' && probability >= 0 && probability <= 1, `${what} to be a probability from 0 to 1`, () => show(probability), 'It becomes a soft label.');
  if (details !== undefined) demandJson(details, `the details of ${what}`, 'They are written beside the label.');
}

async function compare(judge: Judge, comparison: Comparison): Promise<Preference | null> {
  const preference = await judge.compare(comparison);
  demandPreference(preference, comparison);
  return preference;
}

async function inTurn(judge: Judge, comparisons: readonly Comparison[]): Promise<(number | null)[]> {
  const answers: (number | null)[] = [];
  for (const comparison of comparisons) answers.push((await compare(judge, comparison))?.probability ?? null);
  return answers;
}

/** The contract of a {@link Judge}, check by check. */
export const judgeChecks = contractChecks('a judge', {
  'speaks v1 and has a name': async ({ create }: JudgeSubject) => {
    const judge = await create();
    demandIdentity(judge, 'a judge', ['compare']);
    demandOptionalMethods(judge, 'a judge', ['compareAll']);
  },

  'gives a probability, or null': async ({ create, comparisons }: JudgeSubject) => void (await inTurn(await create(), comparisons)),

  'prefers the same answer when the two change places': async ({ create, comparisons, swapTolerance }: JudgeSubject) => {
    if (swapTolerance === null) return;
    const judge = await create();
    for (const comparison of comparisons) {
      const forward = await compare(judge, comparison);
      const backward = await compare(judge, { ...comparison, first: comparison.second, second: comparison.first });
      if (!forward || !backward) continue;
      const [p, q] = [forward.probability, backward.probability];
      demand(Math.abs(p + q - 1) <= swapTolerance, `about ${1 - p} for ${show(comparison.second)} before ${show(comparison.first)}, after ${p} the other way round`, `${q}`, 'A preference for a place is taken for a preference for an answer (`swapTolerance` says how much is let through).');
    }
  },

  'answers many as it answers each': async ({ create, comparisons, tolerance }: JudgeSubject) => {
    const judge = await create();
    if (!judge.compareAll) return;
    const none = await judge.compareAll([]);
    demand(Array.isArray(none) && none.length === 0, 'no answer to no question', () => show(none), 'Answers are matched with questions by their place.');
    const all = await judge.compareAll(comparisons);
    demand(all.length === comparisons.length, `${comparisons.length} answers to ${comparisons.length} questions`, `${all.length}`, 'Answers are matched with questions by their place.');
    all.forEach((preference, i) => demandPreference(preference, comparisons[i]));
    demandSame(await inTurn(judge, comparisons), all.map((preference) => preference?.probability ?? null), { what: 'the answers to many', as: 'to be those to each, in their order', why: 'Which one a caller uses is a matter of cost alone.', tolerance });
  },

  'gives the same answers again': async ({ create, comparisons, tolerance }: JudgeSubject) => {
    const judge = await create();
    demandSame(await inTurn(judge, comparisons), await inTurn(judge, comparisons), { what: 'a second answer with the same seed', as: 'to be the first', why: resumes, tolerance });
  },

  'serves several calls at once': async ({ create, comparisons, tolerance }: JudgeSubject) => {
    const judge = await create();
    const alone = await inTurn(judge, comparisons);
    const together = await Promise.all(comparisons.map(async (comparison) => (await compare(judge, comparison))?.probability ?? null));
    demandSame(alone, together, { what: 'answers at the same time', as: 'to be those one by one', why: resumes, tolerance });
  },

  'does not change the questions': async ({ create, comparisons }: JudgeSubject) => {
    const judge = await create();
    await unchanged(comparisons, 'the questions', 'The label is written beside the pair afterwards.', async () => {
      await inTurn(judge, comparisons);
      await judge.compareAll?.(comparisons);
    });
  },

  'heeds a signal that has fired': async ({ create, comparisons, patience }: JudgeSubject) => {
    const judge = await create();
    for (const [method, call] of [['compare', (signal: AbortSignal) => judge.compare(comparisons[0], { signal })], ['compareAll', (signal: AbortSignal) => judge.compareAll?.(comparisons, { signal })]] as const) {
      const { error } = await within(outcome<unknown>(() => call(AbortSignal.abort())), patience, `\`${method}\` to end soon after its signal has fired`, 'Ctrl-C waits for it.');
      if (error !== undefined) demand(hasCode(error, 'aborted'), `\`${method}\`, whose signal has fired, to reject with the code \`aborted\`, if it rejects`, () => show(error), 'Any other error is reported as a failure of the judge.');
    }
  },

  'keeps an abort to the call that it was meant for': async ({ create, comparisons, tolerance }: JudgeSubject) => {
    const judge = await create();
    const expected = await inTurn(judge, comparisons);
    const controller = new AbortController();
    const stopped = outcome<unknown>(() => judge.compareAll?.(comparisons, { signal: controller.signal }) ?? judge.compare(comparisons[0], { signal: controller.signal }));
    const other = outcome(() => inTurn(judge, comparisons));
    controller.abort();
    await stopped;
    const { value, error } = await other;
    const why = 'Labels and evaluations are made at the same time, and only one of them was told to stop.';
    demand(error === undefined, 'a call whose signal has not fired to go on when another is aborted', () => show(error), why);
    demandSame(expected, value, { what: 'the answers of a call beside one that is aborted', as: 'to be those that it gives alone', why, tolerance });
  },
});
