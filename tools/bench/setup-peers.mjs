// Makes the peers' side: node tools/bench/setup-peers.mjs [DIR]. DIR (default .cache/peers) gets a Python virtual environment with PyTorch, transformers and TRL from PyPI,
// about 5 GB, and SmolLM2-135M-Instruct as a folder that they load, in fp32. Needs Python 3.11 or newer (PYTHON names another interpreter than python3). What is there is kept.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, '../..');
const dir = resolve(process.argv[2] ?? join(root, '.cache/peers'));
const packages = ['torch==2.13.0', 'transformers==5.23.0', 'trl==1.16.0', 'peft', 'accelerate', 'datasets', 'safetensors', 'gguf', 'numpy'];

function run(command, args, options = {}) {
  const { status, error } = spawnSync(command, args, { stdio: ['ignore', 'inherit', 'inherit'], ...options });
  if (error || status !== 0) {
    console.error(`setup-peers: ${command} ${args.slice(0, 3).join(' ')} ${error ? error.message : `ended with status ${status}`}`);
    process.exit(1);
  }
}

mkdirSync(dir, { recursive: true });
const python = join(dir, 'venv', process.platform === 'win32' ? 'Scripts/python.exe' : 'bin/python');
if (!existsSync(python)) run(process.env.PYTHON || 'python3', ['-m', 'venv', join(dir, 'venv')]);
run(python, ['-m', 'pip', 'install', '--quiet', ...packages]);
run(process.execPath, [join(root, 'tools/fixtures/fetch-smollm2.mjs')]);
const model = join(dir, 'smollm2');
if (!existsSync(join(model, 'model.safetensors'))) run(python, [join(here, 'peers/gguf_to_hf.py'), join(root, '.cache/models/SmolLM2-135M-Instruct.Q4_1.gguf'), model], { env: { ...process.env, HF_HUB_OFFLINE: '1' } });
console.log(`ready: ${dir} (${python}, ${model})`);
