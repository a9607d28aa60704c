import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { loadJsonl } from '@espalier/data';
import { byteTokenizer, createModel } from '@espalier/models';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fivePrinciples as constitution, scripted } from './test-support';
import { ConstitutionalTrainer, type ConstitutionalTrainerOptions } from './trainer';

let dir: string;
beforeAll(async () => void (dir = await mkdtemp(join(tmpdir(), 'espalier-cai-'))));
afterAll(() => rm(dir, { recursive: true, force: true }));

const model = () => scripted({ answer: (_prompt, seed) => `text ${seed}`, logps: (prompt) => [-(prompt.length % 5), -2] });
const rows = Array.from({ length: 5 }, (_, i) => ({ prompt: `question ${i}` }));
const trainer = (name: string, more: Partial<ConstitutionalTrainerOptions> = {}, args: ConstitutionalTrainerOptions['args'] = {}) =>
  new ConstitutionalTrainer({ model: { model: model(), name: 'scripted' }, constitution, trainDataset: rows, ...more, args: { outputDir: join(dir, name), numRevisions: 2, ...args } });
const lines = async (path: string) => (await readFile(path, 'utf8')).trim().split('\n');

describe('ConstitutionalTrainer', () => {
  it('makes rows for SFT and for preferences, which their readers take', async () => {
    const { sft, preferences, metrics } = await trainer('both').train();
    expect(sft!.count).toBe(10);
    expect((await loadJsonl(sft!.path, { accepted: ['prompt_completion'] })).size).toBe(10);
    expect(preferences!.count).toBe(5);
    const first = (await loadJsonl(preferences!.path, { accepted: ['preference'] })).row(0);
    expect(first.soft_label).toBeGreaterThanOrEqual(0.5);
    expect(first.provenance).toMatchObject({ judge: 'scripted', constitution: 'five', policy: 'scripted' });
    expect(metrics).toMatchObject({ 'critique/rows': 5, 'critique/excluded': 0, 'preferences/pairs': 5, 'preferences/excluded': 0 });
    expect(JSON.parse(await readFile(join(dir, 'both', 'metrics.json'), 'utf8'))).toMatchObject({ 'critique/rows': 5 });
  });

  it('compares answers with their revisions, and leaves out what a revision did not change', async () => {
    const policy = scripted({ answer: (prompt, seed) => (/Revision|Rewrite|evis/.test(prompt) ? (/question 3/.test(prompt) ? 'as it was' : `better ${seed}`) : 'as it was'), logps: (prompt) => (/\(A\) ?better/.test(prompt) ? [3, 0] : [0, 3]) });
    const { preferences, metrics } = await trainer('revisions', { model: { model: policy, name: 'scripted' } }, { produce: ['preferences'], pairs: 'revisions', pairsPerPrompt: 2, numRevisions: 1 }).train();
    expect(metrics).toMatchObject({ 'preferences/pairs': 8, 'preferences/sampled_excluded': 2 });
    const made = await loadJsonl(preferences!.path, { accepted: ['preference'] });
    expect(made.size).toBe(8);
    for (let i = 0; i < made.size; i++) expect([made.row(i).chosen, made.row(i).rejected]).toEqual([expect.stringContaining('better'), expect.stringContaining('as it was')]);
    const again = await trainer('revisions', { model: { model: scripted({ answer: () => { throw new Error('asked again'); }, logps: () => { throw new Error('asked again'); } }), name: 'scripted' } }, { produce: ['preferences'], pairs: 'revisions', pairsPerPrompt: 2, numRevisions: 1 }).train({ resume: true });
    expect(again.preferences!.count).toBe(8);
  });

  it('criticises with one model and judges with another', async () => {
    const critic = scripted({ answer: (_, seed) => `revised ${seed}`, logps: () => { throw new Error('the critic judges nothing'); } });
    const judge = scripted({ answer: () => { throw new Error('the judge writes nothing'); }, logps: () => [0, -1] });
    const { preferences } = await trainer('critic', { judge: { model: judge, name: 'judge' }, critic: { model: critic, name: 'critic' } }, { pairs: 'revisions', produce: ['preferences'] }).train();
    expect(preferences!.count).toBe(5);
    await expect(trainer('critic', { judge: { model: judge, name: 'judge' } }, { pairs: 'revisions', produce: ['preferences'] }).train({ resume: true })).rejects.toMatchObject({ message: expect.stringContaining('`critic`') as string });
  });

  it('labels pairs that are there, and measures agreement with them', async () => {
    const pairs = [{ prompt: 'Q', chosen: 'good', rejected: 'bad' }, { chosen: 'The sky is blue.', rejected: 'The sky is green.' }];
    const judge = scripted({ logps: (prompt) => (/\(A\) ?(?:good|blue\.|\s*blue)/.test(prompt.slice(prompt.lastIndexOf('Options'))) ? [3, 0] : [0, 3]) });
    const { metrics, preferences } = await trainer('given', { trainDataset: pairs, judge: { model: judge, name: 'judge' } }, { produce: ['preferences'] }).train();
    expect(metrics['preferences/agreement']).toBe(1);
    expect(preferences!.count).toBe(2);
  });

  it('writes the same files from a model on disk, inline, whatever the batch', async () => {
    const fixture = join(dir, 'model');
    await createModel(fixture, { config: { hiddenSize: 16, numLayers: 1, numHeads: 2, maxPositions: 1024 }, tokenizer: byteTokenizer(), seed: 1 });
    const run = async (name: string, batchSize: number) => {
      const made = trainer(name, { model: fixture, inline: true, trainDataset: rows.slice(0, 3) }, { numRevisions: 1, maxCompletionLength: 6, maxCritiqueLength: 4, maxRevisionLength: 6, batchSize, promptFormat: 'plain' });
      try {
        const { sft, preferences } = await made.train();
        return [await readFile(sft!.path, 'utf8'), await readFile(preferences!.path, 'utf8')];
      } finally {
        await made.close();
      }
    };
    const [sft, preferences] = await run('one', 1);
    const [sft3, preferences3] = await run('three', 3);
    expect(sft3).toBe(sft);
    expect(preferences3.trim().split('\n')).toHaveLength(preferences.trim().split('\n').length);
    expect(sft.length + preferences.length).toBeGreaterThan(0);
  });

  it('refuses a folder with a run, another run’s settings, and wrong fields', async () => {
    await trainer('taken').train();
    await expect(trainer('taken').train()).rejects.toMatchObject({ code: 'bad_config', message: expect.stringContaining('holds a run already') as string });
    await expect(trainer('taken', {}, { numRevisions: 3 }).train({ resume: true })).rejects.toMatchObject({ code: 'bad_config', message: expect.stringContaining('`numRevisions`') as string });
    await expect(trainer('taken', { trainDataset: rows.slice(1) }).train({ resume: true })).rejects.toMatchObject({ message: expect.stringContaining('`dataset`') as string });
    await trainer('taken', {}, { overwriteOutputDir: true, numRevisions: 1 }).train();
    expect(() => trainer('x', {}, { labelClamp: [0.6, 0.4] })).toThrow(/`label_clamp`/);
    expect(() => trainer('x', {}, { numRevisons: 2 } as object)).toThrow(/unknown field `num_revisons`/);
    await writeFile(join(dir, 'rows.jsonl'), '{"prompt": "a"}\n{"question": "b"}\n');
    await expect(trainer('bad', { trainDataset: join(dir, 'rows.jsonl') }).train()).rejects.toMatchObject({ code: 'bad_data', message: expect.stringContaining('rows.jsonl:2') as string });
  });

  it('ends at the limit on requests, and goes on from there with a higher one', async () => {
    await expect(trainer('limited', {}, { maxRequests: 12, batchSize: 2 }).train()).rejects.toMatchObject({ code: 'limit' });
    const before = await lines(join(dir, 'limited', 'critiques.jsonl'));
    expect(before.length).toBeGreaterThan(1);
    await trainer('limited', {}, { batchSize: 2 }).train({ resume: true });
    expect((await lines(join(dir, 'limited', 'critiques.jsonl'))).slice(0, before.length)).toEqual(before);
  });

  it('killed at any moment, it repeats no finished row and loses none', { timeout: 120_000 }, async () => {
    const run = (name: string, delay: number) => {
      const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
      const script = fileURLToPath(new URL('../fixtures/slow-run.ts', import.meta.url));
      return spawn(process.execPath, ['--conditions', '@espalier/source', '--import', tsx, script, join(dir, name), String(delay)], { stdio: ['ignore', 'ignore', 'inherit'] });
    };
    const ended = (child: ReturnType<typeof run>) => new Promise<number | null>((resolve) => child.on('exit', (code) => resolve(code)));
    await mkdir(join(dir, 'straight'));
    await mkdir(join(dir, 'killed'));
    expect(await ended(run('straight', 0))).toBe(0);
    const done = async (): Promise<string[]> => {
      const logs = ['critiques', 'pairs', 'labels'].map((name) => join(dir, 'killed', 'run', `${name}.jsonl`)).filter((path) => existsSync(path));
      return (await Promise.all(logs.map(async (path) => (await readFile(path, 'utf8')).split('\n').slice(0, -1).map((line) => `${path} ${line}`)))).flat();
    };
    // killed after so many finished rows: in critique, in the middle of the pairs, while labelling
    for (const rowsDone of [4, 19, 33]) {
      const child = run('killed', 60);
      const exit = ended(child);
      while (child.exitCode === null && (await done()).length < rowsDone) await new Promise((resolve) => setTimeout(resolve, 10));
      expect(child.exitCode).toBeNull();
      child.kill('SIGKILL');
      await exit;
    }
    const kept = await done();
    const askedBefore = (await lines(join(dir, 'killed', 'asked.txt'))).length;
    expect(await ended(run('killed', 0))).toBe(0);
    expect((await done()).filter((line) => kept.includes(line))).toHaveLength(kept.length);
    for (const name of ['sft.jsonl', 'preferences.jsonl', 'metrics.json']) expect(await readFile(join(dir, 'killed', 'run', name), 'utf8')).toBe(await readFile(join(dir, 'straight', 'run', name), 'utf8'));
    // what was asked twice belongs to batches that were under way when the process died: at most two rows a kill
    const asked = await lines(join(dir, 'killed', 'asked.txt'));
    const completions = asked.filter((line) => line.startsWith('complete'));
    const twice = new Set(completions.filter((line, i) => completions.indexOf(line) !== i).map((line) => line.split(' ')[1]));
    expect(twice.size).toBeLessThanOrEqual(6);
    expect(asked.length).toBeGreaterThan(askedBefore);
  });
});
