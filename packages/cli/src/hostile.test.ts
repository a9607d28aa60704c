import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { complaints, espalier, fixture, onlyJson } from './testing';

const model = fixture('smollm2');
let dir: string;
beforeAll(() => void (dir = mkdtempSync(join(tmpdir(), 'espalier-hostile-'))));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Fails with this status, one line and no JSON. */
async function refused(args: readonly string[], status: 1 | 2, line: RegExp | string, env: Record<string, string> = {}): Promise<void> {
  const outcome = await espalier(args, { env });
  expect(outcome.stderr, args.join(' ')).toContain('espalier: ');
  expect(complaints(outcome)).toHaveLength(1);
  if (typeof line === 'string') expect(complaints(outcome)[0]).toContain(line);
  else expect(complaints(outcome)[0]).toMatch(line);
  expect(outcome.stderr).not.toMatch(/\n {4}at /); // no stack
  expect([outcome.status, outcome.stdout]).toEqual([status, '']);
}

/** A copy of the tiny model to damage. */
function copy(name: string): string {
  const folder = join(dir, name);
  mkdirSync(folder, { recursive: true });
  for (const file of readdirSync(model)) if (!file.startsWith('expected')) cpSync(join(model, file), join(folder, file));
  return folder;
}

function withHeader(name: string, change: (header: Record<string, { data_offsets: [number, number] }>) => void): string {
  const folder = copy(name);
  const path = join(folder, 'model.safetensors');
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString()) as Record<string, { data_offsets: [number, number] }>;
  change(header);
  const text = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(path, Buffer.concat([size, text, bytes.subarray(8 + length)]));
  return folder;
}

const score = (path: string) => ['score', '--model', path, '--text', 'the cat', '--json'];

describe('malformed model files', () => {
  it('a truncated safetensors file, and a truncated GGUF', async () => {
    const folder = copy('truncated');
    truncateSync(join(folder, 'model.safetensors'), 5000);
    await refused(score(folder), 2, 'model.safetensors');
    const gguf = join(dir, 'truncated.gguf');
    cpSync(fixture('gguf/smollm2.gguf'), gguf);
    truncateSync(gguf, 20_000);
    await refused(score(gguf), 2, 'truncated.gguf');
  });

  it('a header that claims 2^60 bytes', async () => {
    const folder = copy('huge');
    const path = join(folder, 'model.safetensors');
    const bytes = readFileSync(path);
    bytes.writeBigUInt64LE(2n ** 60n, 0);
    writeFileSync(path, bytes);
    await refused(score(folder), 2, 'model.safetensors');
  });

  it('tensors that overlap', async () => {
    const folder = withHeader('overlap', (header) => {
      const [first, second] = Object.keys(header).filter((name) => name !== '__metadata__');
      const { data_offsets: a } = header[first];
      const { data_offsets: b } = header[second];
      header[second].data_offsets = [a[0], a[0] + (b[1] - b[0])];
    });
    await refused(score(folder), 2, 'model.safetensors');
  });

  it('a tokenizer with a merge that is not in its vocabulary', async () => {
    const folder = copy('merge');
    const path = join(folder, 'tokenizer.json');
    const tokenizer = JSON.parse(readFileSync(path, 'utf8')) as { model: { merges: [string, string][]; vocab: Record<string, number> } };
    const [left, right] = tokenizer.model.merges[0];
    delete tokenizer.model.vocab[left + right];
    writeFileSync(path, JSON.stringify(tokenizer));
    await refused(score(folder), 2, 'tokenizer.json');
  });

  it('a model that is not there, and a config that is no model', async () => {
    await refused(score(join(dir, 'absent')), 2, 'absent');
    await refused(score('./absent.gguf'), 2, 'absent.gguf');
    const folder = copy('other');
    writeFileSync(join(folder, 'config.json'), '{"model_type": "elephant"}');
    await refused(score(folder), 2, 'elephant');
  });
});

describe('wrong rows and fields', () => {
  const rows = () => {
    const path = join(dir, 'rows.jsonl');
    if (!existsSync(path)) writeFileSync(path, '{"prompt": "1+1=", "completion": "2", "answer": "2"}\n'.repeat(4));
    return path;
  };
  const rpt = (...more: string[]) => ['rpt', '--model', model, '--dataset', rows(), '--reward', 'numeric', '--max-steps', '1', '--output-dir', join(dir, 'never'), ...more, '--json'];

  it('a row with a wrong field names file and line', async () => {
    const wrong = join(dir, 'wrong.jsonl');
    writeFileSync(wrong, '{"prompt": "1+1=", "completion": "2"}\n{"prompt": 7, "completion": "2"}\n');
    await refused(['sft', '--model', model, '--dataset', wrong, '--max-steps', '1', '--output-dir', join(dir, 'never')], 2, 'wrong.jsonl:2: `prompt`');
    await refused(['rpt', '--model', model, '--dataset', wrong, '--reward', 'numeric', '--per-device-train-batch-size', '4', '--num-generations', '2', '--max-completion-length', '4', '--max-steps', '4', '--output-dir', join(dir, 'never')], 2, 'wrong.jsonl:2');
    writeFileSync(wrong, '{"prompt": "1+1="}\n{oops\n');
    await refused(['eval', '--model', model, '--dataset', wrong, '--reward', 'numeric'], 2, 'wrong.jsonl:2: not valid JSON');
    await refused(['eval', '--model', model, '--dataset', join(dir, 'no.jsonl'), '--reward', 'numeric'], 2, 'no.jsonl');
  });

  it('a batch size that does not divide says which would', async () => {
    await refused(rpt('--per-device-train-batch-size', '6', '--num-generations', '4'), 2, '`per_device_train_batch_size` 6 is not divisible by `num_generations` 4 (4 or 8 would be)');
  });

  it('unknown flags, commands, rewards, backends and keys name the nearest', async () => {
    await refused(rpt('--lerning-rate', '1e-5'), 2, 'unknown flag --lerning-rate (did you mean --learning-rate?)');
    await refused(['scroe'], 2, 'unknown command scroe (did you mean score?)');
    await refused(['eval', '--model', model, '--dataset', rows(), '--reward', 'numerc'], 2, 'there is no reward function "numerc" (did you mean numeric?');
    await refused(['score', '--model', model, '--text', 'x', '--backend', 'nativ'], 2, '--backend is "nativ" (it takes one of native');
    writeFileSync(join(dir, 'bad.yaml'), 'num_generation: 4\n');
    await refused(rpt('--config', join(dir, 'bad.yaml')), 2, 'unknown field `num_generation` (did you mean `num_generations`?)');
    writeFileSync(join(dir, 'pipe.yaml'), 'stages:\n  - rpt: { dataset: rows.jsonl, reward: numeric }\n');
    await refused(['run', join(dir, 'pipe.yaml'), '--output-dir', join(dir, 'never')], 2, 'pipe.yaml');
  });

  it('wrong values name the flag, what was found and what would do', async () => {
    await refused(rpt('--learning-rate', 'fast'), 2, '--learning-rate is "fast" (it takes a number');
    await refused(rpt('--max-steps', '1.5'), 2, '--max-steps is 1.5 (it takes a whole number)');
    await refused(rpt('--temperature', '0'), 2, '--temperature is 0');
    await refused(['generate', '--model', model], 2, '--prompt is missing');
    await refused(['generate', '--prompt', 'x'], 2, '--model is missing');
    await refused(rpt('--resume', '--output-dir='), 2, '--output-dir');
    expect(existsSync(join(dir, 'never'))).toBe(false); // nothing was begun
  });

  it('a backend that is not here, and a precision that does not exist', async () => {
    await refused(['score', '--model', model, '--text', 'the cat'], 2, 'tensorflow-gpu', { ESPALIER_BACKEND: 'tensorflow-gpu' });
    await refused(['score', '--model', model, '--text', 'the cat'], 2, 'ESPALIER_MATMUL_PRECISION', { ESPALIER_MATMUL_PRECISION: 'fp8' });
  });
});

describe('a folder that holds a run, and a disk that is full', () => {
  const sft = (output: string, ...more: string[]) => ['sft', '--model', model, '--dataset', join(dir, 'disk.jsonl'), '--per-device-train-batch-size', '2', '--max-steps', '2', '--save-steps', '1', '--output-dir', output, ...more];
  beforeAll(() => writeFileSync(join(dir, 'disk.jsonl'), '{"prompt": "1+1=", "completion": "2"}\n'.repeat(4)));

  it('lose nothing that was there', async () => {
    const output = join(dir, 'held');
    const { model: saved } = onlyJson(await espalier([...sft(output), '--json'])) as { model: string };
    const before = readFileSync(join(saved, 'model.safetensors'));
    await refused(sft(output), 2, 'holds a run already');
    // The third checkpoint meets a full disk: writes beyond a size fail with ENOSPC.
    const preload = join(dir, 'full-disk.cjs');
    writeFileSync(
      preload,
      `const fs = require('node:fs');
const full = () => Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC', errno: -28, syscall: 'write' });
for (const name of ['writeSync', 'writevSync']) { const real = fs[name]; fs[name] = (fd, data, ...rest) => { if (data && data.byteLength > 4096 && require('node:worker_threads').isMainThread === false) throw full(); return real(fd, data, ...rest); }; }
require('node:module').syncBuiltinESMExports();
`,
    );
    await refused(sft(output, '--resume', '--max-steps', '3'), 1, /no space/, { NODE_OPTIONS: `--require ${preload}` });
    expect(readFileSync(join(saved, 'model.safetensors')).equals(before)).toBe(true);
    const checkpoints = readdirSync(join(output, 'checkpoints'));
    expect(checkpoints.filter((name) => name.startsWith('step-')).sort()).toEqual(['step-000001', 'step-000002']);
    const resumed = onlyJson(await espalier([...sft(output, '--resume', '--max-steps', '3'), '--json']));
    expect(resumed['steps']).toBe(3);
  });
});
