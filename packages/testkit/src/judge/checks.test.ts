import { defineJudge, EspalierError, type Comparison, type Judge, type Preference } from '@espalier/spec';
import { describe, it } from 'vitest';
import { expectConformance, expectViolation } from '../test-support';
import { judgeChecks as checks } from './checks';
import { judgeSubject } from './subject';

/** Prefers the shorter answer, by a margin. */
const p = ({ first, second }: Comparison) => 1 / (1 + Math.exp((first.length - second.length) / 10));
const compare = async (question: Comparison): Promise<Preference | null> => ({ probability: p(question), details: { by: 'length' } });
const subject = (more: Partial<Judge>, options = {}) => judgeSubject(defineJudge({ name: 'mine', compare, ...more }), { patience: 50, ...options });
let calls = 0;

describe('a judge', () => {
  it('that keeps its contract passes', async () => {
    await expectConformance(checks, subject({}));
    await expectConformance(checks, subject({ compare: async (question) => (question.first === '' || question.second === '' ? null : compare(question)), compareAll: undefined }));
    await expectConformance(checks, subject({
      compare: async (question, options) => { if (options?.signal?.aborted) throw new EspalierError('aborted', 'aborted'); return compare(question); },
      compareAll: (questions) => Promise.all(questions.map(compare)),
    }));
    await expectConformance(checks, subject({ compare: async ({ first, second }) => ({ probability: first === second ? 0.9 : 0.8 }) }, { swapTolerance: null }));
  });

  it.each<[keyof typeof checks, Partial<Judge>, RegExp]>([
    ['speaks v1 and has a name', { name: '' }, /a judge to have a name; found ""/],
    ['speaks v1 and has a name', { compareAll: 1 as never }, /`compareAll` of a judge to be a function, or absent; found 1/],
    ['gives a probability, or null', { compare: async () => ({ probability: 1.2 }) }, /the answer to "It is 5\." or "It is 6\." to be a probability from 0 to 1; found 1\.2\. It becomes a soft label/],
    ['gives a probability, or null', { compare: async () => ({ probability: NaN }) }, /found NaN/],
    ['gives a probability, or null', { compare: async () => undefined as never }, /\{ probability \}, or null where it could not be read; found undefined/],
    ['gives a probability, or null', { compare: async () => ({ probability: 0.5, details: { at: new Date(0) } }) }, /the details of .* to be plain JSON/],
    ['prefers the same answer when the two change places', { compare: async () => ({ probability: 0.7 }) }, /about 0\.3\d* for "It is 6\." before "It is 5\.", after 0\.7 the other way round; found 0\.7\. A preference for a place/],
    ['answers many as it answers each', { compareAll: async (questions) => Promise.all([...questions].reverse().map(compare)) }, /the answers to many to be those to each, in their order .* a matter of cost alone/],
    ['answers many as it answers each', { compareAll: async (questions) => (questions.length === 0 ? [] : [null]) }, /4 answers to 4 questions; found 1/],
    ['answers many as it answers each', { compareAll: async () => [null] }, /no answer to no question; found \[null\]/],
    ['gives the same answers again', { compare: async () => ({ probability: (calls++ % 10) / 10 }) }, /a second answer with the same seed to be the first/],
    ['serves several calls at once', { compare: lastWins() }, /answers at the same time to be those one by one/],
    ['does not change the questions', { compare: async (question) => { question.first = question.first.trim().slice(1); return compare(question); } }, /the questions as it was given .* The label is written beside the pair/],
    ['heeds a signal that has fired', { compare: async (_, options) => (options?.signal?.aborted ? new Promise(() => undefined) : null) }, /`compare` to end soon after its signal has fired; found nothing after 50 ms/],
    ['keeps an abort to the call that it was meant for', stopsForAll(), /a call whose signal has not fired to go on when another is aborted; found the error "aborted"/],
    ['heeds a signal that has fired', { compareAll: () => Promise.reject(new Error('fetch failed')) }, /`compareAll`, whose signal has fired, to reject with the code `aborted`, if it rejects; found the error "fetch failed"/],
  ])('fails "%s": %#', (check, more, message) => expectViolation(checks[check], subject(more), message));
});

function lastWins(): Judge['compare'] {
  let current: Comparison;
  return async (question) => {
    current = question;
    await new Promise((resolve) => setTimeout(resolve, 1));
    return compare(current);
  };
}

/** Once aborted, it is so for everybody. */
function stopsForAll(): Partial<Judge> {
  let stopped = false;
  const answer: Judge['compare'] = async (question, options) => {
    options?.signal?.addEventListener('abort', () => (stopped = true));
    await new Promise((resolve) => setTimeout(resolve, 1));
    if (stopped) throw new EspalierError('aborted', 'aborted');
    return compare(question);
  };
  return { compare: answer, compareAll: (questions, options) => Promise.all(questions.map((question) => answer(question, options))) };
}
