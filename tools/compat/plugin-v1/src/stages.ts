import { createHash } from 'node:crypto';
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { defineStage, throwIfAborted, type Artifacts, type MetricsHandle, type PolicyHandle, type RewardHandle, type RowsHandle, type Stage, type StageContext } from '@espalier/spec';

/** Takes rows, gives them sorted, and says how many there were. */
export function sortedStage({ descending = false }: { descending?: boolean } = {}): Stage<{ rows: RowsHandle }, { rows: RowsHandle; metrics: MetricsHandle }> {
  return defineStage<{ rows: RowsHandle }, { rows: RowsHandle; metrics: MetricsHandle }>({
    name: 'sorted',
    needs: ['rows'],
    gives: ['rows', 'metrics'],
    async run({ rows }, { dir, seed, signal, resume, report, notice }: StageContext) {
      throwIfAborted(signal);
      const lines = (await readFile(rows.path, 'utf8')).split('\n').filter((line) => line !== '').sort();
      if (descending) lines.reverse();
      report({ stage: 'sorted', step: 1, total: 2, metrics: { rows: lines.length } });
      throwIfAborted(signal);
      const path = join(dir, 'sorted.jsonl');
      const text = lines.map((line) => `${line}\n`).join('');
      await writeFile(path, text);
      if (lines.length !== rows.count) notice?.({ stage: 'sorted', name: 'count', level: 'warning', message: `${rows.count} rows were promised (seed ${seed}, resumed ${resume})`, step: 1 });
      report({ stage: 'sorted', step: 2, total: 2, metrics: { rows: lines.length } });
      const values = { rows: lines.length };
      await writeFile(join(dir, 'metrics.json'), JSON.stringify(values));
      return { rows: { kind: 'rows', path, digest: createHash('sha256').update(text).digest('hex'), count: lines.length }, metrics: { kind: 'metrics', path: join(dir, 'metrics.json'), values } };
    },
  });
}

/** Gives what a line of stages can begin with: rows, and every other artifact in its form. */
export function givenStage(artifacts: Artifacts): Stage<Record<never, never>, { rows: RowsHandle; policy: PolicyHandle; reference: PolicyHandle; reward: RewardHandle; metrics: MetricsHandle }> {
  return defineStage<Record<never, never>, Artifacts>({
    name: 'given',
    needs: [],
    gives: ['rows', 'policy', 'reference', 'reward', 'metrics'],
    async run(_input, { dir }) {
      const path = join(dir, 'rows.jsonl');
      await cp(artifacts.rows.path, path);
      return { ...artifacts, rows: { ...artifacts.rows, path } };
    },
  });
}
