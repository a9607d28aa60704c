import type { TrackedMetrics, TrackedRun, Tracker } from '@espalier/spec';
import { contractChecks, outcome, within } from '../check';
import { demandSame, unchanged } from '../compare';
import { ContractViolation, demand, show } from '../contract-violation';
import { demandIdentity, demandOptionalMethods } from '../identity';
import { inTemporaryFolder } from '../temporary-folder';
import type { TrackerSubject } from './subject';

const run = (outputDir: string, step = 0): TrackedRun => ({ name: 'conformance', outputDir, config: { learningRate: 1e-3, rewards: ['numeric'], nested: { none: null } }, totalSteps: 6, step });
const records = (from = 0): TrackedMetrics[] => [
  { step: from + 1, epoch: 0.25, kind: 'train', metrics: { loss: 2.5, grad_norm: 1.25, 'rewards/numeric/mean': 0 } },
  { step: from + 2, epoch: 0.5, kind: 'train', metrics: { loss: 2.25, grad_norm: NaN, 'rewards/numeric/mean': 0.125 } },
  { step: from + 2, epoch: 0.5, kind: 'eval', metrics: { eval_loss: 2.375 } },
  { step: from + 3, epoch: 0.75, kind: 'train', metrics: { loss: -1e-3 } },
];
const ends = 'A run waits for its trackers, and what one throws ends it.';

/** Calls a method where it is there; what it throws, or a call that never ends, is a violation. */
async function call(what: string, patience: number, method: () => void | Promise<void> | undefined): Promise<void> {
  const { error } = await within(outcome(async () => method()), patience, `\`${what}\` to end`, ends);
  if (error !== undefined) throw new ContractViolation({ expected: `\`${what}\` to succeed`, found: show(error), why: ends }, { cause: error });
}

/** A tracker's whole life, from start to end. */
async function live(tracker: Tracker, { patience }: TrackerSubject, outputDir: string, step = 0, error?: unknown): Promise<void> {
  await call('start', patience, () => tracker.start?.(run(outputDir, step)));
  for (const record of records(step)) await call('log', patience, () => tracker.log(record));
  await call('samples', patience, () => tracker.samples?.(step + 3, [{ prompt: 'x', completion: 'y', rewards: { numeric: null } }]));
  await call('notice', patience, () => tracker.notice?.({ name: 'reward_flat', level: 'warning', message: 'the reward — flat\nfor long', step: step + 3 }));
  await call('flush', patience, () => tracker.flush?.());
  await call('end', patience, () => tracker.end?.({ step: step + 3, ...(error === undefined ? {} : { error }) }));
}

/** Reads back, and compares with what was logged: numbers that are finite, in their order. */
async function demandRecorded({ read, nameOf = (metric) => metric }: TrackerSubject, outputDir: string, logged: readonly TrackedMetrics[], why: string): Promise<void> {
  if (!read) return;
  const found = await read(outputDir);
  const expected = logged.map(({ step, kind, metrics }) => ({ step, values: Object.fromEntries(Object.entries(metrics).filter(([, value]) => Number.isFinite(value)).map(([name, value]) => [nameOf(name, kind), value])) }));
  demand(found.length === expected.length, `${expected.length} records`, () => `${found.length}: ${show(found)}`, why);
  expected.forEach((record, i) => {
    demandSame(record.step, found[i].step, { what: `record ${i}`, as: 'to stand where it was logged', why: 'Calls come in the order of the run.' });
    for (const [name, value] of Object.entries(record.values)) demandSame(value, found[i].values[name], { what: `"${name}" of step ${record.step}`, as: 'as it was logged', why, tolerance: 1e-6 });
    for (const [name, value] of Object.entries(found[i].values)) demand(Number.isFinite(value), `"${name}" of step ${record.step} to be left out where it is not finite`, String(value), 'NaN says that nothing applied; a chart would show it as a number.');
  });
}

/** The contract of a {@link Tracker}, check by check. */
export const trackerChecks = contractChecks('a tracker', {
  'speaks v1 and has a name': ({ create }: TrackerSubject) =>
    inTemporaryFolder(async (dir) => {
      const tracker = await create(dir);
      demandIdentity(tracker, 'a tracker', ['log']);
      demandOptionalMethods(tracker, 'a tracker', ['start', 'samples', 'notice', 'flush', 'end']);
    }),

  'follows a run from its start to its end': (subject: TrackerSubject) =>
    inTemporaryFolder(async (dir) => {
      await live(await subject.create(dir), subject, dir);
      await demandRecorded(subject, dir, records(), 'What was logged is what the run has to show.');
    }),

  'holds what was logged once it is flushed': (subject: TrackerSubject) =>
    inTemporaryFolder(async (dir) => {
      const { patience } = subject;
      const tracker = await subject.create(dir);
      await call('start', patience, () => tracker.start?.(run(dir)));
      for (const record of records().slice(0, 3)) await call('log', patience, () => tracker.log(record));
      await call('flush', patience, () => tracker.flush?.());
      await demandRecorded(subject, dir, records().slice(0, 3), 'A checkpoint is about to be written: what was logged before it must survive the end of the process.');
      await call('log', patience, () => tracker.log(records()[3]));
      await call('end', patience, () => tracker.end?.({ step: 3 }));
      await demandRecorded(subject, dir, records(), 'What is logged after a flush counts too.');
    }),

  'hears how a run failed': (subject: TrackerSubject) => inTemporaryFolder(async (dir) => live(await subject.create(dir), subject, dir, 0, new Error('the run failed'))),

  'ends without having logged, or started, and twice': (subject: TrackerSubject) =>
    inTemporaryFolder(async (dir) => {
      const { patience } = subject;
      const unstarted = await subject.create(dir);
      await call('end before a start', patience, () => unstarted.end?.({ step: 0, error: new Error('the model was not found') }));
      const tracker = await subject.create(dir);
      await call('start', patience, () => tracker.start?.(run(dir)));
      await call('flush before anything was logged', patience, () => tracker.flush?.());
      await call('end', patience, () => tracker.end?.({ step: 0 }));
      await call('a second end', patience, () => tracker.end?.({ step: 0 }));
    }),

  'follows one run after another, and one that goes on': (subject: TrackerSubject) =>
    inTemporaryFolder((first) =>
      inTemporaryFolder(async (second) => {
        const tracker = await subject.create(first);
        await live(tracker, subject, first);
        await live(await subject.create(first), subject, first, 3);
        if (!subject.read) return;
        const steps = (await subject.read(first)).map(({ step }) => step);
        demand([1, 2, 3, 4, 5, 6].every((step) => steps.includes(step)), 'the records of a run that went on to stand beside those before', () => show(steps), 'A run that resumes has one history.');
        await live(tracker, subject, second);
      }),
    ),

  'does not change what it is told': (subject: TrackerSubject) =>
    inTemporaryFolder(async (dir) => {
      const tracker = await subject.create(dir);
      const [told, samples, followed] = [records(), [{ completion: 'x', rewards: { a: 1 } }], run(dir)];
      await unchanged([told, samples, followed], 'records, samples and the run', 'Other trackers, and the run\'s own files, are told the same objects.', async () => {
        await tracker.start?.(followed);
        for (const record of told) await tracker.log(record);
        await tracker.samples?.(1, samples);
        await tracker.end?.({ step: 3 });
      });
    }),

  'says so when it cannot write': (subject: TrackerSubject) =>
    inTemporaryFolder(async (dir) => {
      if (!subject.failing) return;
      const { tracker, run: more } = await subject.failing(dir);
      const life = async () => {
        await tracker.start?.({ ...run(dir), ...more });
        for (const record of records()) await tracker.log(record);
        await tracker.flush?.();
      };
      const { error } = await within(outcome(life), subject.patience, 'a tracker that cannot write to say so', ends);
      demand(error !== undefined, 'a tracker that cannot write to reject in `start`, `log` or at the latest `flush`', 'that all went well', 'The run goes on for days, and nothing of it is kept.');
      demand(error instanceof Error && error.message !== '', 'an error with a message', () => show(error), 'It is what the user gets to see.');
    }),
});
