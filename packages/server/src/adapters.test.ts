import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '@espalier/engine';
import { openModel } from './open-model';
import { serve, type RunningServer } from './serve';
import { fixture, tinyEngine } from './testing';

let root: string;
let base: Engine;
let tuned: Engine; // the adapter that was trained, in the engine that trained it
let server: RunningServer;
let adapter: Engine;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'espalier-server-'));
  base = await tinyEngine();
  tuned = await tinyEngine({ lora: { rank: 4, alpha: 16, targets: 'all-linear' } });
  const tokens = Int32Array.from({ length: 20 }, (_, i) => 10 + ((i * 7) % 50));
  const actionIndex = Int32Array.from({ length: 19 }, (_, i) => i + 1);
  const batch = { tokens, offsets: Int32Array.of(0, 20), actionIndex, columns: {}, normalizer: { tokens: 19, sequences: 1 } };
  const nll = { specVersion: 'v1' as const, name: 'nll', needs: ['logps' as const], coupling: 'token' as const, evaluate: ({ logps }: { logps?: Float32Array }) => ({ loss: 0, grads: { logps: Float32Array.from(logps!, () => -1) }, metrics: {} }) };
  for (let step = 0; step < 3; step++) {
    await tuned.learner.forwardBackward(batch, nll as never);
    await tuned.learner.optimStep({ learningRate: 0.05 });
  }
  await tuned.save(join(root, 'v1'));
  adapter = await tinyEngine({ adapter: join(root, 'v1') });
  server = await serve({
    port: 0,
    models: [{ id: 'org/base', engine: base }, { id: 'tuned', engine: adapter, parent: 'org/base' }],
    adapters: { root, most: 2, open: (folder) => openModel({ model: fixture(), inline: true, backend: 'cpu', adapter: folder }) },
  });
}, 120_000);

afterAll(async () => {
  await server.close();
  for (const engine of [base, tuned, adapter]) await engine.close();
  rmSync(root, { recursive: true });
});

const post = (path: string, body: object) => fetch(server.url + path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
const prompt = [10, 17, 24];

async function tokensOf(model: string): Promise<number[]> {
  const response = await post('/v1/completions', { model, prompt, max_tokens: 8, temperature: 0, ignore_eos: true, return_token_ids: true });
  expect(response.status).toBe(200);
  return ((await response.json()) as { choices: { token_ids: number[] }[] }).choices[0].token_ids;
}

async function direct(engine: Engine): Promise<number[]> {
  for await (const { tokens } of engine.generate([{ id: 'x', prompt: Int32Array.from(prompt), seed: 0, sampling: { maxNewTokens: 8, temperature: 0, ignoreEos: true } }])) return [...tokens];
  throw new Error('nothing came');
}

describe('adapters', () => {
  it('are served by name and by base:name, and give what was trained', async () => {
    const expected = await direct(tuned);
    expect(await tokensOf('tuned')).toEqual(expected);
    expect(await tokensOf('org/base:tuned')).toEqual(expected);
    expect(await tokensOf('org/base')).toEqual(await direct(base));
    expect(expected).not.toEqual(await direct(base));
    const { data } = (await (await fetch(`${server.url}/v1/models`)).json()) as { data: { id: string; parent: string | null }[] };
    expect(data.map(({ id, parent }) => [id, parent])).toEqual([['org/base', null], ['tuned', 'org/base']]); // prettier-ignore
    expect((await fetch(`${server.url}/v1/models/${encodeURIComponent('org/base')}`)).status).toBe(200);
  });

  it('are loaded and unloaded by clients, from below the folder alone', async () => {
    const load = (name: string, path: string) => post('/v1/load_lora_adapter', { lora_name: name, lora_path: path });
    expect((await load('later', join(root, 'v1'))).status).toBe(200);
    expect(await tokensOf('later')).toEqual(await direct(tuned));
    expect((await load('later', join(root, 'v1'))).status).toBe(400); // a new version needs a new name
    symlinkSync(fixture('peft'), join(root, 'link'));
    for (const path of [fixture('peft'), join(root, '..'), join(root, 'link'), join(root, 'nothing')]) expect((await load('other', path)).status).toBe(404);
    expect((await load('other', root)).status).toBe(404); // there is no adapter in it
    expect((await load('bad name', join(root, 'v1'))).status).toBe(400);
    expect((await load('second', join(root, 'v1'))).status).toBe(200);
    expect((await load('third', join(root, 'v1'))).status).toBe(400);
    expect((await post('/v1/unload_lora_adapter', { lora_name: 'later' })).status).toBe(200);
    expect((await post('/v1/completions', { model: 'later', prompt })).status).toBe(404);
    expect((await post('/v1/unload_lora_adapter', { lora_name: 'tuned' })).status).toBe(404); // not the clients'
    expect((await load('third', join(root, 'v1'))).status).toBe(200);
  });
});
