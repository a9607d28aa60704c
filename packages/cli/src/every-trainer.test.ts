import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { complaints, espalier, fixture, onlyJson } from './testing';

let dir: string;
beforeAll(() => void (dir = mkdtempSync(join(tmpdir(), 'espalier-trainers-'))));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const eight = <T>(row: (i: number) => T): T[] => Array.from({ length: 8 }, (_, i) => row(i));
const rows = {
  preference: eight((i) => ({ prompt: `${i}+1=`, chosen: `${i + 1}`, rejected: 'no' })),
  unpaired_preference: eight((i) => ({ prompt: `${i}+1=`, completion: `${i + 1}`, label: i % 2 === 0 })),
  stepwise_supervision: eight((i) => ({ prompt: `${i}+1+1=`, completions: [`${i + 1}`, `${i + 2}`], labels: [true, i % 2 === 0] })),
  prompts: eight((i) => ({ prompt: `${i}+1=`, completion: `${i + 1}`, answer: `${i + 1}` })),
};
const onRewards = ['--reward', 'numeric', '--num-generations', '2', '--max-completion-length', '3'];

describe('every trainer from the command line', () => {
  it.each([
    ['dpo', 'preference', []],
    ['kto', 'unpaired_preference', []],
    ['cpo', 'preference', ['--loss-type', 'simpo', '--cpo-alpha', '0']],
    ['orpo', 'preference', []],
    ['reward', 'preference', []],
    ['prm', 'stepwise_supervision', []],
    ['online-dpo', 'prompts', ['--reward', 'numeric', '--max-new-tokens', '3']],
    ['ppo', 'prompts', onRewards],
    ['rloo', 'prompts', onRewards],
    ['reinforce', 'prompts', onRewards],
    ['distill', 'prompts', ['--teacher-model-name-or-path', fixture('smollm2'), '--max-new-tokens', '3']],
  ] as const)('%s takes one step, evaluates, and leaves a model', async (command, kind, more) => {
    const dataset = join(dir, `${kind}.jsonl`);
    writeFileSync(dataset, rows[kind].map((row) => `${JSON.stringify(row)}\n`).join(''));
    const output = join(dir, command);
    const result = onlyJson(await espalier([command, '--model', fixture('smollm2'), '--dataset', dataset, '--eval-dataset', dataset, '--eval-limit', '4', '--per-device-train-batch-size', '4', '--max-steps', '1', '--output-dir', output, ...more, '--json']));
    expect(result).toMatchObject({ output_dir: output, steps: 1 });
    expect(Object.keys(result['eval'] as object).length).toBeGreaterThan(0);
    expect(existsSync(join(result['model'] as string, 'config.json'))).toBe(true);
  });

  it('a trained reward model scores for another run', async () => {
    const dataset = join(dir, 'prompts.jsonl');
    writeFileSync(dataset, rows.prompts.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const reward = `reward_model:path=${join(dir, 'reward', 'checkpoints', 'latest')}`;
    const result = onlyJson(await espalier(['grpo', '--model', fixture('smollm2'), '--dataset', dataset, '--reward', reward, '--num-generations', '2', '--max-completion-length', '3', '--per-device-train-batch-size', '4', '--max-steps', '1', '--output-dir', join(dir, 'on-model'), '--json']));
    expect(Object.keys(result['metrics'] as object)).toContain('rewards/reward_model/mean');
    const refused = await espalier(['grpo', '--model', fixture('smollm2'), '--dataset', dataset, '--reward', 'reward_model', '--output-dir', join(dir, 'no-path')]);
    expect([refused.status, complaints(refused)[0]]).toEqual([2, expect.stringContaining('`path` is missing')]);
  });

  it('refuses rows of another kind, naming file and line', async () => {
    const dataset = join(dir, 'prompts-for-dpo.jsonl');
    writeFileSync(dataset, `${JSON.stringify(rows.prompts[0])}\n`);
    const refused = await espalier(['dpo', '--model', fixture('smollm2'), '--dataset', dataset, '--output-dir', join(dir, 'refused')]);
    expect(refused.status).toBe(2);
    expect(complaints(refused)[0]).toContain('prompts-for-dpo.jsonl:1');
  });
});
