import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import type { AnyStage, Artifacts, StageContext } from '@espalier/spec';
import { contractChecks, hasCode, outcome, within } from '../check';
import { demandJson, demandSame, unchanged } from '../compare';
import { demand, show } from '../contract-violation';
import { demandIdentity } from '../identity';
import { inTemporaryFolder } from '../temporary-folder';
import { filesIn } from './files-in';
import type { StageSubject } from './subject';

const artifactNames = ['policy', 'reference', 'reward', 'rows', 'metrics'] as const;
const kinds: Record<keyof Artifacts, string> = { policy: 'policy', reference: 'policy', reward: 'reward', rows: 'rows', metrics: 'metrics' };
type Report = Parameters<StageContext['report']>[0];

/** Runs a fresh stage in a folder of its own, with the artifacts that it needs. */
async function run(subject: StageSubject, dir: string, options: { input: Partial<Artifacts>; resume?: boolean; signal?: AbortSignal; onReport?(event: Report): void }): Promise<Partial<Artifacts>> {
  const stage = await subject.create();
  await mkdir(dir, { recursive: true });
  const input = Object.fromEntries(stage.needs.map((name) => [name, options.input[name]])) as never;
  return stage.run(input, { dir, seed: subject.seed, resume: options.resume ?? false, report: (event) => options.onReport?.(event), ...(options.signal ? { signal: options.signal } : {}) });
}

/** Throws unless a stage gave what it says, as artifacts are. */
function demandGifts(stage: AnyStage, gives: Partial<Artifacts>, dir: string): void {
  demand(typeof gives === 'object' && gives !== null, 'artifacts by name', () => show(gives), 'The next stage is handed them.');
  demandSame([...stage.gives].sort(), Object.keys(gives).filter((name) => gives[name as keyof Artifacts] !== undefined).sort(), { what: 'the artifacts that it gives', as: 'to be those that `gives` names', why: 'The order of a pipeline is checked by what stages say, before anything runs.' });
  for (const [name, handle] of Object.entries(gives) as [keyof Artifacts, Artifacts[keyof Artifacts]][]) {
    demandJson(handle, `the artifact "${name}"`, 'It is written to pipeline.json, and read again when the run resumes.');
    demand(handle.kind === kinds[name], `kind "${kinds[name]}" of the artifact "${name}"`, show(handle.kind), 'The next stage reads it as that.');
    const path = handle.kind === 'metrics' && !isAbsolute(handle.path) ? join(dir, handle.path) : handle.path;
    demand(typeof path === 'string' && path !== '' && (!isAbsolute(path) || existsSync(path)), `the path of "${name}" to be there`, show(path), 'The next stage opens it.');
    if (handle.kind !== 'metrics') demand(typeof handle.digest === 'string' && handle.digest !== '', `a digest of "${name}"`, show(handle.digest), 'Content decides whether later stages still hold when a run resumes.');
    if (handle.kind === 'rows') demand(Number.isInteger(handle.count) && handle.count >= 0, `the count of "${name}" to be a number of rows`, show(handle.count), 'Schedules are made of it.');
    if (handle.kind === 'metrics') for (const [metric, value] of Object.entries(handle.values)) demand(Number.isFinite(value), `metric "${metric}" to be a finite number`, show(value), 'JSON has no NaN.');
  }
}

/** What of the artifacts must be the same from run to run: the content, not where it lies. */
function content(gives: Partial<Artifacts>, { varying }: StageSubject): Record<string, unknown> {
  const entries = (Object.entries(gives) as [keyof Artifacts, Artifacts[keyof Artifacts]][]).filter(([name]) => !varying.includes(name));
  return Object.fromEntries(entries.map(([name, handle]) => [name, handle.kind === 'metrics' ? handle.values : handle.digest]));
}

const resumes = 'A run that resumes must come to the same numbers.';

/** The contract of a stage, check by check. */
export const stageChecks = contractChecks('a stage', {
  'speaks v1, and names artifacts': async ({ create }: StageSubject) => {
    const stage = await create();
    demandIdentity(stage, 'a stage', ['run']);
    for (const field of ['needs', 'gives'] as const) demand(Array.isArray(stage[field]) && stage[field].every((name) => artifactNames.includes(name)), `\`${field}\` to list some of ${artifactNames.join(', ')}`, () => show(stage[field]), 'The order of a pipeline is checked by it.');
    demand(stage.gives.length > 0, '`gives` to name at least one artifact', 'none', 'A stage that gives nothing changes nothing.');
  },

  'gives what it says, and reports as it goes': (subject: StageSubject) =>
    inTemporaryFolder(async (dir) => {
      const stage = await subject.create();
      const input = await subject.input(dir);
      const events: Report[] = [];
      demandGifts(stage, await run(subject, join(dir, 'stage'), { input, onReport: (event) => events.push(event) }), join(dir, 'stage'));
      for (const event of events) {
        demandSame(stage.name, event.stage, { what: 'the stage of a report', as: 'to be its name', why: 'Progress is shown under it.' });
        demand(Number.isFinite(event.step) && event.step >= 0 && event.step <= event.total, 'a report of a step from 0 to the total', () => show(event), 'Progress is shown as their quotient.');
      }
    }),

  'gives the same again': (subject: StageSubject) =>
    inTemporaryFolder(async (dir) => {
      const input = await subject.input(dir);
      const [first, second] = [await run(subject, join(dir, 'one'), { input }), await run(subject, join(dir, 'two'), { input })];
      demandSame(content(first, subject), content(second, subject), { what: 'the content that a second run gives', as: 'to be that of the first', why: 'Digests decide what a resumed pipeline does again (`varying` excepts what cannot be the same).' });
    }),

  'goes on where it was interrupted': (subject: StageSubject) =>
    inTemporaryFolder(async (dir) => {
      const input = await subject.input(dir);
      const whole = await run(subject, join(dir, 'whole'), { input });
      const controller = new AbortController();
      let reports = 0;
      const interrupted = outcome(() => run(subject, join(dir, 'cut'), { input, signal: controller.signal, onReport: () => ++reports === subject.interruptAfter && controller.abort() }));
      const { error } = await interrupted;
      if (error !== undefined) demand(hasCode(error, 'aborted'), 'a run that is interrupted to reject with the code `aborted`', () => show(error), 'Any other error is reported as a failure of the stage.');
      const resumed = await run(subject, join(dir, 'cut'), { input, resume: true });
      demandGifts(await subject.create(), resumed, join(dir, 'cut'));
      demandSame(content(whole, subject), content(resumed, subject), { what: 'the content that a resumed run gives', as: 'to be that of a run in one go', why: resumes });
    }),

  'heeds a signal that has fired': (subject: StageSubject) =>
    inTemporaryFolder(async (dir) => {
      const input = await subject.input(dir);
      const { value, error } = await within(outcome(() => run(subject, join(dir, 'stage'), { input, signal: AbortSignal.abort() })), subject.patience, 'a run whose signal has fired to end', 'Ctrl-C waits for it.');
      if (value) return demandGifts(await subject.create(), value, join(dir, 'stage'));
      demand(hasCode(error, 'aborted'), 'a run whose signal has fired to reject with the code `aborted`', () => show(error), 'Any other error is reported as a failure of the stage.');
    }),

  'leaves what it was given as it is': (subject: StageSubject) =>
    inTemporaryFolder(async (dir) => {
      const input = await subject.input(join(dir));
      const paths = Object.values(input).flatMap((handle) => (handle && existsSync(handle.path) ? [handle.path] : []));
      const files = async () => Object.fromEntries(await Promise.all(paths.map(async (path) => [path, await filesIn(path)] as const)));
      const before = await files();
      await unchanged(input, 'the artifacts', 'Other stages are given the same ones.', () => run(subject, join(dir, 'stage'), { input }));
      demandSame(before, await files(), { what: 'the files that it was given', as: 'as they were', why: 'They belong to the stage that made them, and their digests are on record.' });
    }),
});
