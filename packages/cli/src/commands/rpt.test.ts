import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { complaints, espalier, fixture, onlyJson } from '../testing';

let dir: string;
beforeAll(() => void (dir = mkdtempSync(join(tmpdir(), 'espalier-rpt-'))));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const write = (name: string, rows: readonly object[]): string => {
  const path = join(dir, name);
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return path;
};
const eight = <T>(row: (i: number) => T): T[] => Array.from({ length: 8 }, (_, i) => row(i));
const datasets = () => ({
  corpus: write('corpus.jsonl', eight((i) => ({ text: `The ${i} dogs ran home. Then it rained all day. Nobody went out to look. The ${i} cats slept by the fire.` }))),
  prompts: write('prompts.jsonl', eight((i) => ({ prompt: `${i}+1=`, answer: `${i + 1}` }))),
  solutions: write('solutions.jsonl', eight((i) => ({ prompt: `${i}+1=`, completion: `${i + 1}`, correct: i % 2 === 0 }))),
});
const common = ['--model', fixture('smollm2'), '--max-steps', '1', '--save-strategy', 'no', '--json'];
const asked = ['--min-context', '4', '--max-context', '50', '--question-format', 'text', '--question-template', '{context} '];
const sampled = ['--num-generations', '2', '--per-device-train-batch-size', '4', '--max-completion-length', '3'];

describe('espalier rpt --objective', () => {
  it.each([
    ['next-token', 'corpus', [...sampled, ...asked, '--min-entropy', '0.1', '--entropy-top-k', '4'], 'rewards/prediction/mean'],
    ['information-gain', 'corpus', [...sampled, '--min-context', '4'], 'rewards/information_gain/mean'],
    ['next-segment', 'corpus', [...sampled, ...asked, '--middle-template', '{context} {following} '], 'rewards/segment_similarity/mean'],
    ['precision', 'solutions', ['--value-coef', '0.1'], 'value_accuracy'],
  ] as const)('%s takes one step, evaluates, and leaves a model', async (objective, rows, more, metric) => {
    const dataset = datasets()[rows];
    const output = join(dir, objective);
    const result = onlyJson(await espalier(['rpt', '--objective', objective, '--dataset', dataset, '--eval-dataset', dataset, '--eval-limit', '2', '--output-dir', output, ...more, ...common]));
    expect(result).toMatchObject({ output_dir: output, steps: 1 });
    expect(Object.keys(result['metrics'] as object)).toContain(metric);
    expect(Object.keys(result['eval'] as object)).toContain(metric);
    expect(existsSync(join(result['model'] as string, 'config.json'))).toBe(true);
  });

  it.each(['ppo', 'online-dpo'])('verifiable with --algorithm %s, and a matched control beside it', async (algorithm) => {
    const { prompts } = datasets();
    const output = join(dir, algorithm);
    const control = algorithm === 'ppo' ? ['--control', 'ce', '--eval-dataset', prompts, '--eval-limit', '2'] : [];
    const result = onlyJson(await espalier(['rpt', '--algorithm', algorithm, '--reward', 'length:max_length=1', '--dataset', prompts, '--output-dir', output, ...sampled, ...control, ...common]));
    expect(result).toMatchObject({ steps: 1 });
    if (control.length === 0) return;
    expect(result['control']).toMatchObject({ kind: 'ce', held: { run: { reward: expect.any(Number) as number }, control: { reward: expect.any(Number) as number } } });
    expect(readFileSync(join(output, 'report.html'), 'utf8')).toContain('"control"');
  });

  it('draws from a curriculum that --dataset names', async () => {
    const output = join(dir, 'curriculum');
    const result = onlyJson(await espalier(['rpt', '--dataset', 'curriculum:families=arithmetic|chain,difficulties=1|2', '--reward', 'task', '--output-dir', output, ...sampled, ...common]));
    expect(result).toMatchObject({ steps: 1 });
    const outcome = await espalier(['grpo', '--dataset', 'curriculum:families=chain', '--reward', 'task', '--output-dir', join(dir, 'never'), ...common]);
    expect([outcome.status, complaints(outcome)[0]]).toEqual([2, expect.stringContaining('draws by what completions earn')]);
  });

  it('refuses what does not go together, with the field and what would do', async () => {
    const { prompts, corpus } = datasets();
    const refused = async (...args: string[]) => {
      const outcome = await espalier(['rpt', '--output-dir', join(dir, 'never'), ...common, ...args]);
      expect(outcome.status).toBe(2);
      return complaints(outcome)[0];
    };
    expect(await refused('--dataset', prompts)).toContain('--reward is missing');
    expect(await refused('--dataset', prompts, '--reward', 'numeric', '--gold-floor', '0.1')).toContain('`gold_floor` is no field of objective verifiable');
    expect(await refused('--dataset', prompts, '--reward', 'numeric', '--algorithm', 'ppo', '--epsilon', '0.1')).toContain('`epsilon` is no field of algorithm ppo');
    expect(await refused('--dataset', corpus, '--objective', 'next-segment', '--segment-reward', 'judge')).toContain('segment_judge');
  });
});
