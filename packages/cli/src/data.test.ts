import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { complaints, espalier, fixture, onlyJson } from './testing';

let dir: string;
beforeAll(() => void (dir = mkdtempSync(join(tmpdir(), 'espalier-data-command-'))));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const write = (name: string, rows: readonly unknown[]) => {
  const path = join(dir, name);
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return path;
};
const read = (path: string) => readFileSync(path, 'utf8').trim().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
const parquet = fileURLToPath(new URL('../../data/fixtures/rows-zstd.parquet', import.meta.url));

describe('--dataset', () => {
  it('takes CSV with typed columns, parts of a file, and a stream', async () => {
    const csv = join(dir, 'kto.csv');
    writeFileSync(csv, `prompt,completion,label\n${Array.from({ length: 8 }, (_, i) => `${i}+1=,${i + 1},${i % 2 === 0}\n`).join('')}`);
    const common = ['--model', fixture('smollm2'), '--per-device-train-batch-size', '4', '--max-steps', '1', '--json'];
    expect(onlyJson(await espalier(['kto', '--dataset', `${csv}#types=label:boolean`, '--output-dir', join(dir, 'kto'), ...common]))).toMatchObject({ steps: 1 });
    const outcome = await espalier(['sft', '--dataset', `${csv}#split=sft:0.5,rest:0.5;take=sft`, '--output-dir', join(dir, 'sft'), ...common], { env: { ESPALIER_CACHE: join(dir, 'cache') } });
    expect(onlyJson(outcome)).toMatchObject({ steps: 1 });
    expect(readdirSync(join(dir, 'cache', 'splits'))).toHaveLength(1);
    expect(onlyJson(await espalier(['sft', '--dataset', csv, '--dataset-streaming', '--output-dir', join(dir, 'stream'), ...common]))).toMatchObject({ steps: 1 });
    const wrong = await espalier(['kto', '--dataset', csv, '--output-dir', join(dir, 'no'), ...common]);
    expect(complaints(wrong)).toEqual([expect.stringMatching(/kto\.csv:2: `label`: .*found "true"/)]);
    expect(wrong.status).toBe(2);
  });
});

describe('espalier data', () => {
  it('convert: Parquet, CSV and other conversations to JSON Lines', async () => {
    const output = join(dir, 'out.jsonl.gz');
    expect(onlyJson(await espalier(['data', 'convert', parquet, '--output', output, '--columns', 'id,prompt', '--limit', '2', '--json']))).toEqual({ output, rows: 2 });
    expect(gunzipSync(readFileSync(output)).toString().split('\n')).toHaveLength(3);
    const chat = write('chat.jsonl', [{ conversations: [{ from: 'human', value: 'a' }, { from: 'gpt', value: 'b' }] }]);
    const outcome = await espalier(['data', 'convert', chat, '--output', join(dir, 'chat-trl.jsonl')]);
    expect(outcome).toMatchObject({ status: 0, stdout: `1 rows written to ${join(dir, 'chat-trl.jsonl')}\n` });
    expect(outcome.stderr).toContain('notice: ');
    expect(read(join(dir, 'chat-trl.jsonl'))).toEqual([{ messages: [{ role: 'user', content: 'a' }, { role: 'assistant', content: 'b' }] }]);
    writeFileSync(join(dir, 'typed.csv'), 'prompt,label\na,true\n');
    await espalier(['data', 'convert', `${join(dir, 'typed.csv')}#types=label:boolean`, '--output', join(dir, 'typed.json')]);
    expect(JSON.parse(readFileSync(join(dir, 'typed.json'), 'utf8'))).toEqual([{ prompt: 'a', label: true }]);
  });

  it('dedupe and decontaminate: what was left out, and why', async () => {
    const words = (from: number, count: number) => Array.from({ length: count }, (_, i) => `v${from + i}`).join(' ');
    const rows = write('rows.jsonl', [{ text: words(0, 40) }, { text: `${words(0, 39)} other` }, { text: words(0, 40).toUpperCase() }, { text: words(100, 20) }]);
    const [output, report] = [join(dir, 'deduped.jsonl'), join(dir, 'report.json')];
    const result = onlyJson(await espalier(['data', 'dedupe', rows, '--output', output, '--report', report, '--json']));
    expect(result).toMatchObject({ output, method: 'near', rows: 4, kept: 2 });
    expect((result['removed'] as { row: number; kind: string; of: { row: number } }[]).map(({ row, kind, of }) => [row, kind, of.row])).toEqual([[1, 'near', 0], [2, 'exact', 0]]);
    expect(JSON.parse(readFileSync(report, 'utf8'))).toMatchObject({ kept: 2, removed: result['removed'] });
    expect(read(output)).toHaveLength(2);
    const held = write('held.jsonl', [{ prompt: words(102, 14) }]);
    const clean = await espalier(['data', 'decontaminate', output, '--against', held, '--output', join(dir, 'clean.jsonl')]);
    expect(clean.stdout).toBe(`${output}:2 shares ${JSON.stringify(words(102, 13).slice(0, 60))} with ${held}:1\n1 of 2 rows written to ${join(dir, 'clean.jsonl')}\n`);
  });

  it('inspect', async () => {
    expect(onlyJson(await espalier(['data', 'inspect', parquet, '--rows', '0', '--json']))).toMatchObject({ name: 'rows-zstd', rows: 120, first: [], columns: { id: { number: 109, null: 11 } } });
    expect((await espalier(['data', 'inspect', 'arithmetic:size=3'])).stdout).toContain('prompt_only 3, 3 of them messages');
  });

  it('never writes over a file unasked, and says what is wrong', async () => {
    const rows = write('mine.jsonl', [{ text: 'a' }, { text: 'a' }]);
    const refused = async (args: string[], line: string) => {
      const outcome = await espalier(['data', ...args]);
      expect(complaints(outcome)).toEqual([expect.stringContaining(line)]);
      expect([outcome.status, outcome.stdout]).toEqual([2, '']);
    };
    await refused(['dedupe', rows, '--output', rows], 'mine.jsonl is there already');
    expect(read(rows)).toHaveLength(2);
    await refused(['convert', rows, '--output', join(dir, 'x.parquet')], 'one of .jsonl, .json');
    await refused(['convert', rows, '--output', join(dir, 'none', 'x.jsonl')], 'there is no folder');
    await refused(['convert', join(dir, 'none.csv'), '--output', join(dir, 'x.jsonl')], 'there is no file');
    await refused(['decontaminate', rows, '--output', join(dir, 'x.jsonl')], '--against is missing');
    await refused(['dedupe', rows, '--output', join(dir, 'x.jsonl'), '--treshold', '0.5'], 'did you mean --threshold?');
    await refused(['dedup', rows], 'did you mean dedupe?');
    await refused(['inspect', rows, '--dataset-config', 'main'], '--dataset is no dataset of the hub');
    expect((await espalier(['data', 'dedupe', rows, '--output', rows, '--overwrite'])).status).toBe(0);
    expect(read(rows)).toHaveLength(1);
    expect(existsSync(join(dir, 'x.jsonl'))).toBe(false);
    expect(readdirSync(dir).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });
});
