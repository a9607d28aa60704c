import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { complaints, espalier, fixture, onlyJson } from './testing';

const model = fixture('smollm2');
let dir: string;
beforeAll(() => void (dir = mkdtempSync(join(tmpdir(), 'espalier-cli-'))));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const sums = (count: number) => Array.from({ length: count }, (_, i) => JSON.stringify({ prompt: `${i}+1=`, completion: String(i + 1), answer: String(i + 1) })).join('\n');
const write = (name: string, text: string): string => {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
};

describe('generate and score', () => {
  it('print one JSON object with what the design says, and nothing else', async () => {
    const generated = onlyJson(await espalier(['generate', '--model', model, '--prompt', 'the cat, sat', '--max-new-tokens', '6', '--temperature', '0', '--json']));
    expect(Object.keys(generated)).toEqual(['completions']);
    const [completion] = generated['completions'] as { tokens: number[]; text: string; logps: number[]; finish_reason: string }[];
    expect(Object.keys(completion)).toEqual(['tokens', 'text', 'logps', 'finish_reason']);
    expect(completion.tokens.length).toBeGreaterThan(0);
    expect(completion.logps).toHaveLength(completion.tokens.length);
    expect(['stop', 'length']).toContain(completion.finish_reason);

    const scored = onlyJson(await espalier(['score', '--model', model, '--text', 'the cat sat', '--json'])) as { tokens: number[]; logps: number[]; nll: number; perplexity: number };
    expect(Object.keys(scored)).toEqual(['tokens', 'logps', 'nll', 'perplexity']);
    expect(scored.logps).toHaveLength(scored.tokens.length - 1);
    expect(scored.nll).toBeCloseTo(-scored.logps.reduce((a, b) => a + b, 0) / scored.logps.length, 6);
    expect(scored.perplexity).toBeCloseTo(Math.exp(scored.nll), 6);
  });

  it('sample what the seed says, in groups and from files', async () => {
    const sampled = async (seed: string) => (onlyJson(await espalier(['generate', '--model', model, '--prompt', 'the', '--chat', '--max_new_tokens=5', '--num-return', '3', '--seed', seed, '--json']))['completions'] as { tokens: number[] }[]).map(({ tokens }) => tokens);
    const [first, again, other] = await Promise.all([sampled('1'), sampled('1'), sampled('2')]);
    expect(first).toHaveLength(3);
    expect(again).toEqual(first);
    expect(other).not.toEqual(first);
    const file = write('prompts.jsonl', '{"prompt": "the cat"}\n{"prompt": [{"role": "user", "content": "the"}]}\n');
    const many = onlyJson(await espalier(['generate', '--model', model, '--file', file, '--max-new-tokens', '3', '--json']))['completions'] as { prompt: number }[];
    expect(many.map(({ prompt }) => prompt)).toEqual([0, 1]);
  });

  it('score a long text in overlapping windows', async () => {
    const file = write('long.txt', 'the cat sat on the mat. '.repeat(20));
    const scored = onlyJson(await espalier(['score', '--model', model, '--file', file, '--json'])) as { tokens: number[]; logps: (number | null)[] };
    expect(scored.tokens.length).toBeGreaterThan(96); // the model's positions
    expect(scored.logps.every((logp) => typeof logp === 'number' && logp < 0)).toBe(true);
  });
});

describe('training', () => {
  const small = ['--max-steps', '2', '--logging-steps', '1', '--save-steps', '1'];

  it('sft trains, evaluates, and leaves a model that loads', async () => {
    const output = join(dir, 'sft');
    const result = onlyJson(await espalier(['sft', '--model', model, '--dataset', write('sft.jsonl', sums(8)), '--eval-dataset', write('sft-held.jsonl', sums(2)), '--per_device_train_batch_size', '2', ...small, '--output-dir', output, '--json']));
    expect(result).toMatchObject({ output_dir: output, steps: 2 });
    expect(Object.keys(result['eval'] as object)).toContain('loss');
    expect(readFileSync(join(output, 'metrics.jsonl'), 'utf8').trim().split('\n').length).toBeGreaterThanOrEqual(2);
    const scored = await espalier(['score', '--model', result['model'] as string, '--text', '1+1=2', '--json']);
    expect(scored.status).toBe(0);
  });

  it('rpt reads a YAML file, stops at Ctrl-C with the run saved, and --resume goes on with the flags it was started with', async () => {
    const output = join(dir, 'rpt');
    const config = write('rpt.yaml', `model: ${model}\ndataset: ${write('rpt.jsonl', sums(8))}\nreward: [numeric=0.5, "length:max_length=8"]\nper_device_train_batch_size: 4\nnumGenerations: 2\nmax_completion_length: 4\nmax_steps: 40\nsave_steps: 50\nlogging_steps: 1\n`);
    let interrupted = false;
    const stopped = await espalier(['rpt', '--config', config, '--output-dir', output, '--learning-rate', '1e-4'], {
      env: { CI: '1' },
      onStderr(text, kill) {
        if (!interrupted && text.includes(`run in ${output}`)) {
          interrupted = true;
          kill('SIGINT');
        }
      },
    });
    expect(stopped.status).toBe(1);
    expect(stopped.stderr).toContain('the run is being saved');
    expect(complaints(stopped)).toHaveLength(1);
    const done = onlyJson(await espalier(['rpt', '--resume', '--output-dir', output, '--max-steps', '4', '--json']));
    expect(done['steps']).toBe(4);
    expect(JSON.parse(readFileSync(join(output, 'command.json'), 'utf8'))).toMatchObject({ command: 'rpt', flags: { learningRate: 1e-4, numGenerations: 2 } });
    const other = await espalier(['sft', '--resume', '--output-dir', output]);
    expect(other.status).toBe(2);
    expect(complaints(other)[0]).toContain('holds a run of espalier rpt');
  });

  it('grpo trains on a procedural task, eval measures, run runs a pipeline and keeps what is finished', async () => {
    const trained = onlyJson(await espalier(['grpo', '--model', model, '--task', 'arithmetic', '--task-format', 'text', '--task-template', '{expression}=', '--reward', 'exact', '--per-device-train-batch-size', '4', '--num-generations', '2', '--max-completion-length', '3', '--max-steps', '1', '--output-dir', join(dir, 'grpo'), '--json']));
    expect(trained['steps']).toBe(1);

    const evaluated = onlyJson(await espalier(['eval', '--model', model, '--task', 'arithmetic', '--task_format', 'text', '--task-template', '{expression}=', '--limit', '3', '--reward', 'numeric', '--samples', '2', '--max-new-tokens', '3', '--text', write('text.txt', 'the cat sat'), '--json'])) as Record<string, unknown>;
    expect(evaluated).toMatchObject({ rows: 3, samples: 2, completions: 6 });
    expect(Object.keys(evaluated['rewards'] as object)).toEqual(['numeric']);
    for (const name of ['accuracy', 'pass@1', 'pass@2', 'nll', 'perplexity']) expect(typeof evaluated[name]).toBe('number');

    const config = write('pipeline.yaml', `seed: 3\nstages:\n  - model: ${model}\n  - sft: { dataset: ${write('pipe.jsonl', sums(4))}, per_device_train_batch_size: 2, max_steps: 1 }\n  - evaluate: { dataset: ${join(dir, 'pipe.jsonl')}, reward: numeric, max_completion_length: 3 }\n`);
    const output = join(dir, 'pipeline');
    const first = onlyJson(await espalier(['run', config, '--output-dir', output, '--json'])) as { stages: { name: string; skipped: boolean }[]; policy: string };
    expect(first.stages.map(({ name, skipped }) => [name, skipped])).toEqual([['model', false], ['sft', false], ['evaluate', false]]);
    expect(existsSync(join(first.policy, 'model.safetensors'))).toBe(true);
    const again = await espalier(['run', config, '--output-dir', output]);
    expect([again.status, complaints(again).length]).toEqual([2, 1]);
    const resumed = onlyJson(await espalier(['run', config, '--output-dir', output, '--resume', '--json'])) as { stages: { skipped: boolean }[] };
    expect(resumed.stages.every(({ skipped }) => skipped)).toBe(true);
  });
});

describe('help and machine', () => {
  it('help, version and doctor leave with 0', async () => {
    const [help, commandHelp, version, doctor] = await Promise.all([espalier(['--help']), espalier(['rpt', '--help']), espalier(['--version']), espalier(['doctor', '--json'])]);
    expect([help.status, commandHelp.status, version.status]).toEqual([0, 0, 0]);
    expect(commandHelp.stdout).toContain('--num-generations');
    expect(commandHelp.stdout).toContain('(default 8)');
    expect(version.stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
    const found = onlyJson(doctor) as { node: string; backend: string; backends: { name: string }[] };
    expect(found.node).toBe(process.version);
    expect(found.backend).toBe('cpu');
    expect(found.backends.map(({ name }) => name)).toEqual(['native', 'tensorflow-gpu', 'tensorflow', 'wasm', 'cpu']);
  });

  it('a reader that goes away ends it quietly', async () => {
    const { spawnSync } = await import('node:child_process');
    const { fileURLToPath } = await import('node:url');
    const bin = fileURLToPath(new URL('../bin/espalier.js', import.meta.url));
    const { FORCE_COLOR: _force, NO_COLOR: _none, ...env } = process.env; // Node warns when both are set
    const piped = spawnSync('sh', ['-c', `"${process.execPath}" "${bin}" rpt --help | true`], { encoding: 'utf8', env });
    expect(piped.stderr).toBe('');
  });
});
