import type { NoticeData, RunStatus } from './page-data';
import { numberOf, textOf } from './read-json';
import { readJsonLines } from './read-lines';

export interface RunLog {
  status: RunStatus;
  message: string | null;
  totalSteps: number | null;
  started: number | null;
  ended: number | null;
  backend: string | null;
  precision: string | null;
  notices: readonly NoticeData[];
}

/** How an event of the log leaves the run. */
const outcomes: Readonly<Record<string, RunStatus>> = { start: 'running', resume: 'running', end: 'done', aborted: 'stopped', failed: 'failed' };

/** `log.jsonl`: how the run went, and what it said. A notice that a resumed run told again counts once. */
export async function readLog(path: string): Promise<{ log: RunLog; problem: string | null }> {
  const log = { status: 'unknown' as RunStatus, message: null as string | null, totalSteps: null as number | null, started: null as number | null, ended: null as number | null, backend: null as string | null, precision: null as string | null };
  const notices = new Map<string, NoticeData>();
  const { problem } = await readJsonLines(path, 'log.jsonl', (record) => {
    const event = textOf(record['event']) ?? '';
    const time = Date.parse(textOf(record['time']) ?? '');
    const at = Number.isNaN(time) ? null : time;
    log.started ??= at;
    log.ended = at ?? log.ended;
    if (event in outcomes) {
      log.status = outcomes[event];
      log.message = log.status === 'failed' || log.status === 'stopped' ? textOf(record['message']) : null;
    }
    log.totalSteps = numberOf(record['totalSteps']) ?? log.totalSteps;
    log.backend = textOf(record['backend']) ?? log.backend;
    log.precision = textOf(record['precision']) ?? log.precision;
    if (event === 'warning' || event === 'note' || event === 'alarm') {
      const name = textOf(record['name']) ?? event;
      notices.set(name, { name, level: event, message: textOf(record['message']) ?? '', step: numberOf(record['step']) ?? 0 });
    }
    if (event === 'rollback') {
      const [from, to] = [numberOf(record['from']) ?? 0, numberOf(record['to']) ?? 0];
      notices.set(event, { name: event, level: 'alarm', message: `the weights of step ${to} were taken back, because of ${textOf(record['alarm']) ?? 'an alarm'}`, step: from });
    }
  });
  return { log: { ...log, notices: [...notices.values()].sort((a, b) => a.step - b.step) }, problem };
}
