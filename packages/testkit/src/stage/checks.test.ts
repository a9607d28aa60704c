import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { defineStage, EspalierError, type AnyStage, type RowsHandle, type StageContext } from '@espalier/spec';
import { describe, it } from 'vitest';
import { expectConformance, expectViolation } from '../test-support';
import { stageChecks as checks } from './checks';
import { stageSubject } from './subject';

const digest = (text: string) => createHash('sha256').update(text).digest('hex');
async function rowsAt(path: string, rows: readonly string[]): Promise<RowsHandle> {
  const text = rows.map((row) => `${row}\n`).join('');
  await writeFile(path, text);
  return { kind: 'rows', path, digest: digest(text), count: rows.length };
}
const input = async (dir: string) => ({ rows: await rowsAt(join(dir, 'in.txt'), ['one', 'two', 'three']) });

/** Doubles rows, one a step, keeping what is done in `done.txt`. */
function doubling(options: { resumes?: boolean; hears?: boolean } = {}): AnyStage {
  return defineStage<{ rows: RowsHandle }, { rows: RowsHandle }>({
    name: 'double', needs: ['rows'], gives: ['rows'],
    async run({ rows }, { dir, resume, signal, report }: StageContext) {
      const source = (await readFile(rows.path, 'utf8')).trim().split('\n');
      const kept = join(dir, 'done.txt');
      const done = resume && options.resumes !== false && existsSync(kept) ? (await readFile(kept, 'utf8')).split('\n').filter(Boolean) : [];
      if (resume && options.resumes === false) done.push('again');
      for (const row of source.slice(done.length)) {
        if (signal?.aborted && options.hears !== false) throw new EspalierError('aborted', 'aborted');
        done.push(row + row);
        await writeFile(kept, done.join('\n'));
        report({ stage: 'double', step: done.length, total: source.length, metrics: {} });
      }
      return { rows: await rowsAt(join(dir, 'out.txt'), done) };
    },
  });
}
const subject = (stage: AnyStage) => stageSubject(() => stage, { input, patience: 200 });
const changed = (more: Partial<AnyStage>) => subject({ ...doubling(), ...more });
const after = (change: (gives: { rows: RowsHandle }, context: StageContext, given: { rows: RowsHandle }) => object) => changed({ run: (async (given: { rows: RowsHandle }, context: StageContext) => { const gives = (await doubling().run(given as never, context)) as { rows: RowsHandle }; return { ...gives, ...(await change(gives, context, given)) }; }) as never });
let runs = 0;

describe('a stage', () => {
  it('that keeps its contract passes', () => expectConformance(checks, subject(doubling())));

  it.each<[keyof typeof checks, ReturnType<typeof subject>, RegExp]>([
    ['speaks v1, and names artifacts', changed({ gives: ['model' as 'policy'] }), /`gives` to list some of policy, reference, reward, rows, metrics; found \["model"\]/],
    ['speaks v1, and names artifacts', changed({ gives: [] }), /`gives` to name at least one artifact; found none/],
    ['gives what it says, and reports as it goes', changed({ gives: ['rows', 'metrics'] }), /the artifacts that it gives to be those that `gives` names .* checked by what stages say/],
    ['gives what it says, and reports as it goes', after(({ rows }) => ({ policy: { kind: 'policy', path: rows.path, digest: 'x' } })), /the artifacts that it gives to be those that `gives` names/],
    ['gives what it says, and reports as it goes', after(({ rows }) => ({ rows: { ...rows, kind: 'policy' } })), /kind "rows" of the artifact "rows"; found "policy"/],
    ['gives what it says, and reports as it goes', after(({ rows }) => ({ rows: { ...rows, path: '/not/there' } })), /the path of "rows" to be there; found "\/not\/there"\. The next stage opens it/],
    ['gives what it says, and reports as it goes', after(({ rows }) => ({ rows: { ...rows, digest: '' } })), /a digest of "rows"; found ""/],
    ['gives what it says, and reports as it goes', after(({ rows }) => ({ rows: { ...rows, count: undefined } })), /the count of "rows" to be a number of rows; found undefined/],
    ['gives what it says, and reports as it goes', after(({ rows }) => ({ rows: { ...rows, iterator: () => 1 } })), /the artifact "rows" to be plain JSON; found a function at iterator/],
    ['gives what it says, and reports as it goes', after((_, { report }) => (report({ stage: 'other', step: 1, total: 2, metrics: {} }), {})), /the stage of a report to be its name \("double"\); found "other"/],
    ['gives what it says, and reports as it goes', after((_, { report }) => (report({ stage: 'double', step: 4, total: 2, metrics: {} }), {})), /a report of a step from 0 to the total; found .*"step":4/],
    ['gives the same again', after(({ rows }) => ({ rows: { ...rows, digest: `run ${runs++}` } })), /the content that a second run gives to be that of the first \("run 0" at rows\); found "run 1"/],
    ['goes on where it was interrupted', subject(doubling({ resumes: false })), /the content that a resumed run gives to be that of a run in one go .* must come to the same numbers/],
    ['heeds a signal that has fired', changed({ run: (async () => new Promise(() => undefined)) as never }), /a run whose signal has fired to end; found nothing after 200 ms/],
    ['heeds a signal that has fired', changed({ run: (async () => Promise.reject(new Error('killed'))) as never }), /reject with the code `aborted`; found the error "killed"/],
    ['leaves what it was given as it is', after(async (_, __, given) => (await writeFile(given.rows.path, 'other'), {})), /the files that it was given as they were .* belong to the stage that made them/],
    ['leaves what it was given as it is', after((_, __, given) => ((given.rows.path = 'moved'), {})), /the artifacts as it was given .* Other stages are given the same ones/],
  ])('fails "%s": %#', (check, wrong, message) => expectViolation(checks[check], wrong, message));
});
