import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { complaints, espalier, fixture, onlyJson } from '../testing';

const model = fixture('smollm2');
let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'espalier-dry-'));
  const rows = Array.from({ length: 10 }, (_, i) => ({ prompt: `${i}+1=`, completion: `${i + 1}`, chosen: `${i + 1}`, rejected: 'no', answer: `${i + 1}`, text: `${i}+1=${i + 1}`, label: i % 2 === 0 }));
  const write = (name: string, ...columns: (keyof (typeof rows)[number])[]) => writeFileSync(join(dir, name), rows.map((row) => `${JSON.stringify(Object.fromEntries(columns.map((column) => [column, row[column]])))}\n`).join(''));
  write('pairs.jsonl', 'prompt', 'chosen', 'rejected');
  write('prompts.jsonl', 'prompt', 'completion', 'answer');
  write('labels.jsonl', 'prompt', 'completion', 'label');
  write('text.jsonl', 'text');
  writeFileSync(join(dir, 'steps.jsonl'), rows.map(({ prompt }, i) => `${JSON.stringify({ prompt, completions: ['a', 'b'], labels: [true, i > 4] })}\n`).join(''));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface Plan {
  dry_run: boolean;
  rows: number;
  sequences: number;
  effective_batch: number;
  steps: number;
  steps_per_epoch: number;
  tokens: { mean: number; longest: number; micro_batch: number; step: number };
  generation?: { prompts: number; completions: number; updates: number };
  memory: { bytes: Record<string, number>; basis: string };
  time: { seconds: { step: number; run: number }; basis: string };
}

const dry = async (command: string, dataset: string, ...more: string[]) => onlyJson(await espalier([command, '--model', model, '--dataset', join(dir, dataset), '--output-dir', join(dir, 'never'), '--dry-run', '--json', ...more])) as unknown as Plan;
const onRewards = ['--reward', 'numeric', '--num-generations', '2', '--max-completion-length', '3', '--per-device-train-batch-size', '4'];

describe('--dry-run', () => {
  it.each([
    ['sft', 'text.jsonl', []],
    ['dpo', 'pairs.jsonl', []],
    ['kto', 'labels.jsonl', []],
    ['cpo', 'pairs.jsonl', []],
    ['orpo', 'pairs.jsonl', []],
    ['reward', 'pairs.jsonl', []],
    ['prm', 'steps.jsonl', []],
    ['distill', 'prompts.jsonl', ['--teacher-model-name-or-path', model, '--max-new-tokens', '3']],
    ['grpo', 'prompts.jsonl', onRewards],
    ['rloo', 'prompts.jsonl', onRewards],
    ['reinforce', 'prompts.jsonl', onRewards],
    ['rpt', 'prompts.jsonl', onRewards],
    ['ppo', 'prompts.jsonl', onRewards],
    ['online-dpo', 'prompts.jsonl', ['--reward', 'numeric', '--max-new-tokens', '3']],
  ] as const)('of %s says batches, steps, memory and time, and writes nothing', async (command, dataset, more) => {
    const before = readdirSync(dir);
    const plan = await dry(command, dataset, ...more, '--max-steps', '3');
    expect(plan).toMatchObject({ dry_run: true, rows: 10, steps: 3 });
    expect(plan.tokens.step).toBeGreaterThan(0);
    const { peak, ...parts } = plan.memory.bytes;
    expect(peak).toBeGreaterThan(parts['weights'] + parts['gradients']);
    expect(plan.time.seconds.run).toBeCloseTo(3 * plan.time.seconds.step, 6);
    expect(plan.time.basis).toContain('GFLOP');
    expect(readdirSync(dir)).toEqual(before);
  });

  it('of a constitutional run counts what is asked of the models', async () => {
    const plan = await dry('constitutional', 'prompts.jsonl', '--num-revisions', '2', '--max-completion-length', '8', '--max-critique-length', '4', '--max-revision-length', '6');
    // 10 answers, 20 critiques and 20 revisions; 20 answers in pairs; each pair judged in both orders
    expect(plan).toMatchObject({ dry_run: true, rows: 10, texts: 10 + 20 + 20 + 20, tokens: 80 + 80 + 120 + 160, questions: 20 });
  });

  it('of rows counts as training does', async () => {
    const plan = await dry('sft', 'text.jsonl', '--per-device-train-batch-size', '2', '--gradient-accumulation-steps', '2', '--num-train-epochs', '2');
    expect(plan).toMatchObject({ sequences: 10, effective_batch: 4, steps_per_epoch: 3, steps: 6 }); // 5 micro-batches an epoch, in steps of 2
    const done = onlyJson(await espalier(['sft', '--model', model, '--dataset', join(dir, 'text.jsonl'), '--output-dir', join(dir, 'sft'), '--per-device-train-batch-size', '2', '--gradient-accumulation-steps', '2', '--num-train-epochs', '2', '--save-strategy', 'no', '--json']));
    expect(done).toMatchObject({ steps: 6 });
    const tokens = plan.tokens.mean * plan.sequences * 2; // of two epochs
    expect(tokens).toBeCloseTo((done['metrics'] as { num_tokens: number }).num_tokens, 3);
  });

  it('counts rows that are packed, and shows completions of a round', async () => {
    const packed = await dry('sft', 'text.jsonl', '--packing', '--max-length', '32', '--per-device-train-batch-size', '1');
    expect(packed.sequences).toBeLessThan(10);
    expect(packed.tokens.micro_batch).toBeLessThanOrEqual(32);
    const online = await dry('grpo', 'prompts.jsonl', ...onRewards, '--num-train-epochs', '1');
    expect(online).toMatchObject({ generation: { prompts: 2, completions: 4, updates: 1 }, effective_batch: 4, steps: 5 });
  });

  it('for people is a short table, and what is wrong is found as a run would find it', async () => {
    const shown = await espalier(['grpo', '--model', model, '--dataset', join(dir, 'prompts.jsonl'), ...onRewards, '--max-steps', '2', '--dry-run']);
    expect([shown.status, shown.stderr]).toEqual([0, '']);
    for (const part of ['parameters, all of them trained', '2 prompts × 2 completions = 4', '4 completions × 1 accumulated = 4 an optimiser step', '2: 0.4 epochs of 5', 'at its peak (weights', 'a step', 'nothing was written']) expect(shown.stdout).toContain(part);
    expect(existsSync(join(process.cwd(), 'runs', 'grpo'))).toBe(false);
    const refused = await espalier(['dpo', '--model', model, '--dataset', join(dir, 'prompts.jsonl'), '--dry-run']);
    expect([refused.status, complaints(refused)[0]]).toEqual([2, expect.stringContaining('prompts.jsonl:1')]);
    const absent = await espalier(['sft', '--model', 'somebody/some-model-that-is-not-here', '--dataset', join(dir, 'text.jsonl'), '--dry-run'], { env: { HF_HUB_CACHE: join(dir, 'hub') } });
    expect([absent.status, absent.stdout, existsSync(join(dir, 'hub'))]).toEqual([2, '', false]); // nothing is fetched
  });

  it('of a pipeline plans every stage, those of a branch too, and says what is kept', async () => {
    const file = join(dir, 'pipe.yaml');
    writeFileSync(file, `output_dir: ${join(dir, 'pipe')}\nstages:\n  - model: ${model}\n  - sft: { dataset: ${join(dir, 'text.jsonl')}, per_device_train_batch_size: 5, num_train_epochs: 1 }\n  - branch: { name: left, stages: [{ dpo: { dataset: ${join(dir, 'pairs.jsonl')}, max_steps: 1 } }] }\n  - evaluate: { dataset: ${join(dir, 'prompts.jsonl')}, reward: numeric, max_completion_length: 3 }\n`);
    const stagesOf = async (...more: string[]) => (onlyJson(await espalier(['run', file, ...more, '--json'])) as { stages: { name: string; action: string; steps?: number; note?: string }[] }).stages;
    expect((await stagesOf('--dry-run')).map(({ name, action, steps, note }) => [name, action, steps ?? note])).toEqual([
      ['model', 'runs', model], ['sft', 'runs', 2], ['left', 'runs', undefined], ['left/dpo', 'runs', 1], ['evaluate', 'runs', 'measures 10 rows × 1 completions'],
    ]);
    expect(existsSync(join(dir, 'pipe'))).toBe(false);
    const ran = await espalier(['run', file]);
    expect(ran.status).toBe(0);
    expect(ran.stderr).toMatch(/stage +plan +needs +gives/); // the plan before the run
    expect(ran.stdout).toContain('left/dpo'); // the report after it
    expect((await stagesOf('--dry-run')).map(({ action }) => action)).toEqual(['kept', 'kept', 'kept', 'kept', 'kept']);
    writeFileSync(join(dir, 'pairs.jsonl'), '{"prompt": "9+9=", "chosen": "18", "rejected": "no"}\n');
    expect((await stagesOf('--dry-run')).map(({ name, action }) => `${name} ${action}`)).toEqual(['model kept', 'sft kept', 'left runs', 'left/dpo runs', 'evaluate kept']);
  });
});
