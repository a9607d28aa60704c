import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { defineTracker, type Tracker } from '@espalier/spec';
import { describe, it } from 'vitest';
import { expectConformance, expectViolation } from '../test-support';
import { trackerChecks as checks } from './checks';
import { trackerSubject, type TrackerOptions } from './subject';

/** A tracker that writes a line a record, and how it may be wrong. */
function lines(options: { dir?: string; keep?: boolean; nan?: boolean; more?: (tracker: Tracker) => Partial<Tracker> } = {}): Tracker {
  let path: string | null = null;
  let pending: string[] = [];
  const flush = async () => {
    if (path && pending.length > 0) await appendFile(path, pending.splice(0).join(''));
  };
  const tracker = defineTracker({
    name: 'lines',
    start: async ({ outputDir }) => {
      await mkdir(options.dir ?? outputDir, { recursive: true });
      path = join(options.dir ?? outputDir, 'metrics.jsonl');
    },
    log: ({ step, metrics }) => {
      const values = Object.fromEntries(Object.entries(metrics).filter(([, value]) => options.nan || Number.isFinite(value)).map(([name, value]) => [name, Number.isFinite(value) ? value : 'NaN']));
      pending.push(`${JSON.stringify({ step, values })}\n`);
    },
    flush: options.keep ? () => undefined : flush,
    end: async () => {
      await flush();
      path = null;
      pending = [];
    },
  });
  return { ...tracker, ...options.more?.(tracker) };
}
const read: TrackerOptions['read'] = async (dir) => {
  const text = await readFile(join(dir, 'metrics.jsonl'), 'utf8').catch(() => '');
  return text.split('\n').filter(Boolean).map((line) => JSON.parse(line, (_, value: unknown) => (value === 'NaN' ? NaN : value)) as { step: number; values: Record<string, number> });
};
const failing: TrackerOptions['failing'] = async (dir) => {
  await writeFile(join(dir, 'a-file'), '');
  return { tracker: lines({ dir: join(dir, 'a-file', 'below') }) };
};
const subject = (options: Parameters<typeof lines>[0] = {}, more: TrackerOptions = {}) => trackerSubject(() => lines(options), { read, failing, patience: 200, ...more });

describe('a tracker', () => {
  it('that keeps its contract passes', async () => {
    await expectConformance(checks, subject());
    await expectConformance(checks, trackerSubject(() => defineTracker({ name: 'silent', log: () => undefined })));
  });

  it.each<[keyof typeof checks, ReturnType<typeof subject>, RegExp]>([
    ['speaks v1 and has a name', trackerSubject(() => ({ specVersion: 'v1', name: 'x' }) as Tracker), /"x" to have the method `log`; found undefined/],
    ['speaks v1 and has a name', subject({ more: () => ({ flush: true as never }) }), /`flush` of a tracker to be a function, or absent; found true/],
    ['follows a run from its start to its end', subject({ more: () => ({ log: () => { throw new Error('429 Too Many Requests'); } }) }), /`log` to succeed; found the error "429 Too Many Requests"\. A run waits for its trackers, and what one throws ends it/],
    ['follows a run from its start to its end', subject({ more: () => ({ samples: () => new Promise(() => undefined) }) }), /`samples` to end; found nothing after 200 ms/],
    ['follows a run from its start to its end', subject({ more: ({ log }) => ({ log: (record) => (record.kind === 'eval' ? undefined : log(record)) }) }), /4 records; found 3/],
    ['follows a run from its start to its end', subject({ more: ({ log }) => ({ log: (record) => log({ ...record, step: 2 * record.step }) }) }), /record 0 to stand where it was logged \(1\); found 2\. Calls come in the order of the run/],
    ['follows a run from its start to its end', subject({ more: ({ log }) => ({ log: (record) => log({ ...record, metrics: { loss: 1 } }) }) }), /"loss" of step 1 as it was logged \(2\.5\); found 1/],
    ['follows a run from its start to its end', subject({ nan: true }), /"grad_norm" of step 2 to be left out where it is not finite; found NaN/],
    ['holds what was logged once it is flushed', subject({ keep: true }), /3 records; found 0: \[\]\. A checkpoint is about to be written/],
    ['hears how a run failed', subject({ more: () => ({ end: ({ error }) => { if (error) throw new TypeError('cannot read it'); } }) }), /`end` to succeed; found the error "cannot read it"/],
    ['ends without having logged, or started, and twice', subject({ more: () => ({ end: async () => Promise.reject(new Error('not started')) }) }), /`end before a start` to succeed; found the error "not started"/],
    ['ends without having logged, or started, and twice', subject({ more: () => { let ends = 0; return { start: () => void (ends = 0), end: () => { if (ends++ > 0) throw new Error('ended'); } }; } }), /`a second end` to succeed/],
    ['follows one run after another, and one that goes on', subject({ more: ({ start }) => ({ start: async (run) => { if (run.step > 0) throw new Error('there is a file'); await start!(run); } }) }), /`start` to succeed; found the error "there is a file"/],
    ['does not change what it is told', subject({ more: () => ({ log: (record) => void (record.metrics.loss = 0) }) }), /records, samples and the run as it was given .* told the same objects/],
    ['says so when it cannot write', subject({}, { failing: () => ({ tracker: lines({ more: () => ({ start: () => undefined }) }) }) }), /a tracker that cannot write to reject in `start`, `log` or at the latest `flush`; found that all went well/],
  ])('fails "%s": %#', (check, wrong, message) => expectViolation(checks[check], wrong, message));
});
