import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { complaints, espalier, fixture, onlyJson } from '../testing';

/** A folder as a user of TRL has it: a model, rows with a file for each split, and the configurations. */
let dir: string;
const rows = <T>(count: number, row: (i: number) => T): string => Array.from({ length: count }, (_, i) => `${JSON.stringify(row(i))}\n`).join('');
const turn = (role: string, content: string) => ({ role, content });
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'espalier-trl-'));
  cpSync(fixture('smollm2'), join(dir, 'model'), { recursive: true });
  for (const folder of ['ultrachat', 'ultrafeedback', 'numina']) mkdirSync(join(dir, folder));
  for (const [split, count] of [['train', 32], ['test', 8]] as const) {
    writeFileSync(join(dir, 'ultrachat', `${split}_sft.jsonl`), rows(count, (i) => ({ prompt_id: `${i}`, messages: [turn('user', `${i} + 1?`), turn('assistant', `${i + 1}`)] })));
    writeFileSync(join(dir, 'ultrafeedback', `${split}_prefs.jsonl`), rows(count, (i) => ({ chosen: [turn('user', `${i} + 1?`), turn('assistant', `${i + 1}`)], rejected: [turn('user', `${i} + 1?`), turn('assistant', 'no')], score_chosen: 9 })));
    writeFileSync(join(dir, 'numina', `${split}.jsonl`), rows(count / 4, (i) => ({ prompt: [turn('user', `${i} + 1?`)], solution: `${i + 1}` })));
  }
  for (const name of ['sft', 'dpo', 'grpo']) copyFileSync(fileURLToPath(new URL(`fixtures/${name}.yaml`, import.meta.url)), join(dir, `${name}.yaml`));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe("configurations of TRL's users, as they are", () => {
  it.each([
    ['sft', 2, ['torch_dtype', 'attn_implementation', 'hub_model_id', 'push_to_hub', 'report_to', 'dataset_num_proc'], { maxLength: 2048, lrSchedulerType: 'cosine', warmupRatio: 0.1, gradientCheckpointing: true, evalStrategy: 'epoch' }],
    ['dpo', 2, ['dtype', 'max_prompt_length', 'hub_model_id', 'push_to_hub', 'preprocessing_num_workers'], { beta: 0.01, maxLength: 1024, evalSteps: 100 }],
    ['grpo', 2, ['use_vllm', 'vllm_gpu_memory_utilization', 'reward_funcs'], { numGenerations: 16, logCompletions: true }],
  ] as const)('%s', async (command, steps, said, config) => {
    const outcome = await espalier([command, '--config', `${command}.yaml`, '--json'], { cwd: dir });
    const result = onlyJson(outcome);
    expect(result).toMatchObject({ steps });
    const written = JSON.parse(readFileSync(join(result['output_dir'] as string, 'config.json'), 'utf8')) as Record<string, unknown>;
    expect(written['arguments']).toMatchObject(config);
    if (command === 'grpo') expect(written['rewards']).toEqual({ accuracy_reward: 1, think_format_reward: 0.2 });
    for (const name of said) expect(outcome.stderr).toContain(`${command}.yaml: \`${name}\``);
    if (command !== 'grpo') expect(Object.keys(result['eval'] as object).length).toBeGreaterThan(0);
  });

  it('flags override the file, and a refused field ends with its reason and status 2', async () => {
    writeFileSync(join(dir, 'qlora.yaml'), readFileSync(join(dir, 'dpo.yaml'), 'utf8').replace('load_in_4bit: false', 'load_in_4bit: true'));
    const refused = await espalier(['dpo', '--config', 'qlora.yaml'], { cwd: dir });
    expect([refused.status, complaints(refused)]).toEqual([2, ['espalier: qlora.yaml: `load_in_4bit` is refused: nothing trains in 4 or 8 bits: weights that are stored so are made fp32 when they are read (leave it out)']]);
    const result = onlyJson(await espalier(['sft', '--config', 'sft.yaml', '--max-steps', '1', '--output-dir', 'elsewhere', '--eval-strategy', 'no', '--json'], { cwd: dir }));
    expect(result).toMatchObject({ steps: 1, output_dir: join(dir, 'elsewhere') });
  });
});
