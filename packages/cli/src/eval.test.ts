import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { complaints, espalier, fixture, onlyJson } from './testing';

const dir = mkdtempSync(join(tmpdir(), 'espalier-eval-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const write = (name: string, rows: readonly object[]) => {
  const path = join(dir, name);
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return path;
};
const sums = write('sums.jsonl', [1, 2, 3].map((n) => ({ prompt: `${n}+1=`, answer: String(n + 1), reward: 'numeric' })));
const words = write('words.jsonl', ['ba', 'dc'].map((word) => ({ prompt: word, answer: word })));
const model = fixture('smollm2');

describe('espalier eval', () => {
  it('measures tasks by their own rewards and by --reward, perplexity on the text that comes along, and a baseline beside', async () => {
    const result = onlyJson(await espalier(['eval', '--model', model, '--baseline', model, '--tasks', sums, '--tasks', words, '--reward', 'exact', '--samples', '2', '--max-new-tokens', '3', '--perplexity', 'general', '--perplexity-limit', '1', '--json']));
    const tasks = result['tasks'] as Record<string, Record<string, unknown>>;
    expect(Object.keys(tasks)).toEqual(['sums', 'words']);
    expect([tasks['sums'], tasks['words']].map((task) => [Object.keys(task['rewards'] as object), task['rows'], task['completions']])).toEqual([[['numeric'], 3, 6], [['exact'], 2, 4]]);
    for (const task of Object.values(tasks)) {
      const [low, high] = task['accuracy_interval'] as [number, number];
      expect(0 <= low && low <= (task['accuracy'] as number) && (task['accuracy'] as number) <= high && high <= 1).toBe(true);
      expect(task['pass@2_interval']).toHaveLength(2);
    }
    expect(result['perplexity']).toBeGreaterThan(1);
    const { seconds: _seconds, baseline, change, ...own } = result;
    expect(baseline).toEqual(own); // the same model and the same seed
    expect(change).toEqual({ tasks: { sums: { accuracy: 0 }, words: { accuracy: 0 } }, perplexity_ratio: 1 });
    expect(result).not.toHaveProperty('accuracy');
  });

  it.each([
    [['--tasks', words], 'nothing scores the rows of task "words"'],
    [['--tasks', sums, '--tasks', sums], 'is given twice'],
    [['--perplexity', 'no-such.txt'], 'there is no text no-such.txt'],
    [['--text', 'a', '--perplexity', 'general'], '--text and --perplexity are both given'],
    [['--tasks', sums, '--perplexity-limit', '2'], '--perplexity-limit is given without --perplexity'],
    [['--reward', 'numeric'], '--dataset is missing'],
  ])('refuses %j before a model is loaded', async (args, message) => {
    const outcome = await espalier(['eval', '--model', join(dir, 'no-model'), ...args]);
    expect(outcome.status).toBe(2);
    expect(complaints(outcome).join('\n')).toContain(message);
  });
});
