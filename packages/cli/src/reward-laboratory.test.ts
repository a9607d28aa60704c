import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { complaints, espalier, onlyJson } from './testing';

let dir: string;
let samples: string;
let rows: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'espalier-laboratory-'));
  const write = (name: string, list: readonly unknown[]) => {
    writeFileSync(join(dir, name), list.map((row) => `${JSON.stringify(row)}\n`).join(''));
    return join(dir, name);
  };
  samples = write('samples.jsonl', Array.from({ length: 12 }, (_, i) => ({ step: 1, prompt: `${i % 3}+1=`, completion: `It is ${(i % 3) + 1 + (i % 2)}${'.'.repeat(i)}`, answer: (i % 3) + 1 })));
  rows = write('rows.jsonl', Array.from({ length: 6 }, (_, i) => ({ prompt: `${i}+20=`, answer: i + 20 })));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('espalier reward try', () => {
  it('scores a file and says what looks exploitable', async () => {
    const result = onlyJson(await espalier(['reward', 'try', '--reward', 'numeric', '--reward', 'length:max_length=20,weight=0.5', '--samples', samples, '--json']));
    expect(result).toMatchObject({ reward: 'numeric+length', samples: 12, scored: 12, components: { numeric: { mean: 0.5 } } });
    expect((result['rewards'] as unknown[]).length).toBe(12);
    const printed = await espalier(['reward', 'try', '--reward', 'format:pattern=\\.$', '--samples', samples]);
    expect(printed.status).toBe(0);
    expect(printed.stdout).toMatch(/format: 12 of 12 samples scored[\s\S]*highest:[\s\S]*note: ignores_the_row:/);
  });
  it('names what is missing', async () => {
    const refused = await espalier(['reward', 'try', '--reward', 'numeric', '--samples', rows]);
    expect([refused.status, complaints(refused)]).toEqual([2, [expect.stringMatching(/rows\.jsonl:1: there is no `completion`/)]]);
    expect((await espalier(['reward', 'try', '--samples', samples])).status).toBe(2);
  });
});

describe('espalier reward attack', () => {
  it('a reward that holds: status 0', async () => {
    const outcome = await espalier(['reward', 'attack', '--reward', 'exact', '--dataset', rows, '--json']);
    expect(onlyJson(outcome)).toMatchObject({ reward: 'exact', rows: 6, verdict: 'holds', honest: { mean: 1, from: 'answers' } });
  });
  it('one that does not: status 1, and one line that says so', async () => {
    const outcome = await espalier(['reward', 'attack', '--reward', 'format', '--dataset', rows]);
    expect(outcome.status).toBe(1);
    expect(outcome.stdout.trim().split('\n').at(-1)).toMatch(/^exploitable: .*format_echo/);
    expect(outcome.stderr).toContain('notice: honest answers earn no more');
  });
  it('takes tasks, samples to measure against, and refuses a column that no row has', async () => {
    const task = onlyJson(await espalier(['reward', 'attack', '--reward', 'numeric', '--task', 'arithmetic', '--limit', '8', '--honest', samples, '--json']));
    expect(task).toMatchObject({ rows: 8, honest: { from: 'samples' } });
    const refused = await espalier(['reward', 'attack', '--reward', 'exact', '--dataset', rows, '--answer-column', 'gold']);
    expect([refused.status, complaints(refused)[0]]).toEqual([2, expect.stringContaining('no row has it (rows have prompt, answer')]);
  });
  it('`espalier reward` trains as before', async () => {
    const refused = await espalier(['reward', '--dataset', rows]);
    expect([refused.status, complaints(refused)[0]]).toEqual([2, expect.stringContaining('--model')]);
    expect((await espalier(['reward', '--help'])).stdout).toMatch(/--dataset[\s\S]*attack/);
  });
});
