import { createHash } from 'node:crypto';
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { defineStage, throwIfAborted } from '@espalier/spec';
/** Takes rows, gives them sorted, and says how many there were. */
export function sortedStage({ descending = false } = {}) {
    return defineStage({
        name: 'sorted',
        needs: ['rows'],
        gives: ['rows', 'metrics'],
        async run({ rows }, { dir, seed, signal, resume, report, notice }) {
            throwIfAborted(signal);
            const lines = (await readFile(rows.path, 'utf8')).split('\n').filter((line) => line !== '').sort();
            if (descending)
                lines.reverse();
            report({ stage: 'sorted', step: 1, total: 2, metrics: { rows: lines.length } });
            throwIfAborted(signal);
            const path = join(dir, 'sorted.jsonl');
            const text = lines.map((line) => `${line}\n`).join('');
            await writeFile(path, text);
            if (lines.length !== rows.count)
                notice?.({ stage: 'sorted', name: 'count', level: 'warning', message: `${rows.count} rows were promised (seed ${seed}, resumed ${resume})`, step: 1 });
            report({ stage: 'sorted', step: 2, total: 2, metrics: { rows: lines.length } });
            const values = { rows: lines.length };
            await writeFile(join(dir, 'metrics.json'), JSON.stringify(values));
            return { rows: { kind: 'rows', path, digest: createHash('sha256').update(text).digest('hex'), count: lines.length }, metrics: { kind: 'metrics', path: join(dir, 'metrics.json'), values } };
        },
    });
}
/** Gives what a line of stages can begin with: rows, and every other artifact in its form. */
export function givenStage(artifacts) {
    return defineStage({
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
