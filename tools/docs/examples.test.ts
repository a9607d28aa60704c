import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { byteTokenizer, createModel } from '@espalier/models';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openFakeHub } from '../../examples/hub/fake-hub';
import { codeBlocks, root } from './code-blocks';

/** Runs an example from the built packages, as its README says. */
function run(file: string, args: readonly string[] = [], env: Record<string, string> = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--import', 'tsx', join(root, 'examples', file), ...args], { cwd: root, env: { ...process.env, NODE_OPTIONS: '', ...env } });
    let [out, complaints] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complaints += text));
    child.on('error', reject);
    child.on('close', (status) => (status === 0 ? resolve(out) : reject(new Error(`status ${status}: ${complaints}`))));
  });
}

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'espalier-examples-'));
  if (!existsSync(join(root, 'packages/pipeline/dist/index.js'))) throw new Error('the packages are not built: `npm run build` first');
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** The accuracies in a table of stages. */
const accuracy = (table: string, stage: string): number => Number(new RegExp(`^${stage}(?: \\(kept\\))? +\\S+ +([\\d.]+)`, 'm').exec(table)?.[1]);

describe('the examples do what their READMEs say', () => {
  it('one-package prints what stands there', async () => {
    const printed = codeBlocks('examples/one-package/README.md').filter(({ language }) => language === 'text').map(({ code }) => code);
    expect([await run('one-package/dpo-loss.ts'), await run('one-package/rewards.ts')]).toEqual(printed);
  });

  it('custom-objective learns', async () => {
    const lines = [...(await run('custom-objective/main.ts', [join(dir, 'objective')])).matchAll(/^step (\d+): loss ([\d.]+), (\d+) %/gm)].map(([, ...numbers]) => numbers.map(Number));
    expect(lines.map(([step]) => step)).toEqual([20, 40, 60]);
    expect(lines[2][1]).toBeLessThan(lines[0][1]);
    expect(lines[2][2]).toBeGreaterThan(lines[0][2]);
  });

  it('environments learns a game of several turns', async () => {
    const printed = await run('environments/main.ts', ['--steps', '60', '--dir', join(dir, 'environments')]);
    const won = (line: RegExp) => Number(line.exec(printed)?.[1]);
    expect(won(/^after 60 steps .*: won ([\d.]+) of 1024 games/m)).toBeGreaterThan(won(/^before: won ([\d.]+) of 1024 games/m) + 0.1);
  });

  it.each(['custom-pipeline', 'ppo-reward-model'])('%s makes the model better, and does nothing twice', async (name) => {
    const first = await run(`${name}/main.ts`, [join(dir, name)]);
    expect(accuracy(first, 'after')).toBeGreaterThan(accuracy(first, 'before'));
    const log = readFileSync(join(dir, name, 'pipeline.json'), 'utf8');
    expect(accuracy(await run(`${name}/main.ts`, [join(dir, name)]), 'after')).toBe(accuracy(first, 'after'));
    expect(JSON.parse(readFileSync(join(dir, name, 'pipeline.json'), 'utf8')).stages).toEqual((JSON.parse(log) as { stages: unknown }).stages);
  });

  it('hub sends a model and fetches it', async () => {
    const hub = await openFakeHub('hf_token');
    try {
      const model = join(dir, 'model');
      await createModel(model, { config: { hiddenSize: 16, numLayers: 1, numHeads: 2, maxPositions: 32 }, tokenizer: byteTokenizer(), seed: 1 });
      const env = { HF_ENDPOINT: hub.endpoint, HF_TOKEN: 'hf_token', HF_HOME: join(dir, 'home'), HF_HUB_CACHE: '', HF_HUB_OFFLINE: '', ESPALIER_BACKEND: 'cpu' };
      expect(await run('hub/upload.ts', [model, 'me/tiny'], env)).toMatch(/config\.json.*model\.safetensors.*\nhttp.*\/me\/tiny\n/);
      expect(await run('hub/download.ts', ['me/tiny'], env)).toMatch(/model\.safetensors: \d+ bytes[\s\S]*it says [1-4] tokens more/);
    } finally {
      hub.close();
    }
  });
});
