import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '@espalier/engine';
import { httpRolloutEngine, httpTextModel, localRolloutEngine, publishingAdapters, type HttpRolloutEngine } from '@espalier/rollouts';
import type { Completion, GenerateRequest, RolloutEngine } from '@espalier/spec';
import { openModel } from './open-model';
import { serve, type RunningServer } from './serve';
import { fixture, tinyEngine } from './testing';

let root: string;
let engine: Engine;
let server: RunningServer;
let remote: HttpRolloutEngine;
const key = 'a-key-of-this-test';

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'espalier-http-'));
  process.env['ESPALIER_TEST_KEY'] = key;
  engine = await tinyEngine();
  server = await serve({ port: 0, models: [{ id: 'tiny', engine }], apiKey: key, adapters: { root, open: (adapter) => openModel({ model: fixture(), inline: true, backend: 'cpu', adapter }) } });
  remote = await httpRolloutEngine({ baseUrl: `${server.url}/v1`, model: 'tiny', apiKeyEnv: 'ESPALIER_TEST_KEY', training: { temperature: 0.7 } });
}, 120_000);

afterAll(async () => {
  await remote.close();
  await server.close();
  await engine.close();
  delete process.env['ESPALIER_TEST_KEY'];
  rmSync(root, { recursive: true });
});

const prompt = (length: number) => Int32Array.from({ length }, (_, i) => 10 + ((i * 37) % 200));

async function all(rollouts: Pick<RolloutEngine, 'generate'>, requests: readonly GenerateRequest[]): Promise<Map<string, Completion>> {
  const found = new Map<string, Completion>();
  for await (const completion of rollouts.generate(requests)) {
    const name = `${completion.requestId}/${completion.index}`;
    expect(found.has(name)).toBe(false);
    found.set(name, completion);
  }
  return found;
}

describe('the HTTP engine against this server', () => {
  it('finds out what it can do', () => {
    expect(remote.capabilities).toEqual({ tokenIds: true, logps: true, sync: 'adapter', promptIds: true, logpsAt: 'processed', scoring: 'prompt_logprobs', multiple: true, streaming: true, extended: true, maxPositions: 96, server: 'espalier' });
  });

  it('gives the same tokens, log-probs and texts as the engine in the process', async () => {
    const requests: GenerateRequest[] = [
      { id: 'plain', prompt: prompt(5), seed: 42, n: 3, sampling: { maxNewTokens: 12 } },
      { id: 'cool', prompt: prompt(9), seed: 7, n: 2, sampling: { maxNewTokens: 8, temperature: 0.7, ignoreEos: true } },
      { id: 'filtered', prompt: prompt(7), seed: 2 ** 40, sampling: { maxNewTokens: 8, topK: 20, topP: 0.9, minP: 0.001, repetitionPenalty: 1.2, minNewTokens: 3 } },
      { id: 'greedy', prompt: prompt(3), seed: 1, sampling: { maxNewTokens: 20, temperature: 0, ignoreEos: true } },
      { id: 'stopped', prompt: prompt(4), seed: 3, sampling: { maxNewTokens: 30, stopTokens: [11, 12, 13, 14, 15, 16, 17, 18, 19, 20], stop: ['a', 'e'] } },
    ];
    const [here, there] = [await all(localRolloutEngine(engine), requests), await all(remote, requests)];
    expect([...there.keys()].sort()).toEqual([...here.keys()].sort());
    for (const [name, { tokens, logps, text, finishReason }] of here) {
      const other = there.get(name)!;
      expect([name, ...other.tokens]).toEqual([name, ...tokens]);
      expect(other.logps).toEqual(logps);
      expect([other.text, other.finishReason]).toEqual([text, finishReason]);
    }
  });

  it('scores as the engine does, sequences that fill the model too', async () => {
    const sequences = [prompt(6), prompt(1), prompt(96)];
    expect(await remote.score!(sequences)).toEqual(await engine.score(sequences));
  });

  it('is aborted as the engine is', async () => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 30);
    const reasons = new Set<string>();
    for await (const { finishReason } of remote.generate([{ id: 'x', prompt: prompt(5), seed: 1, n: 4, sampling: { maxNewTokens: 90, ignoreEos: true } }], { signal: controller.signal })) reasons.add(finishReason);
    expect([...reasons]).toEqual(['aborted']);
  });

  it('says what the server refuses, and never the key', async () => {
    await expect(all(remote, [{ id: 'x', prompt: prompt(5), seed: 1, sampling: { maxNewTokens: 500 } }])).rejects.toMatchObject({ code: 'bad_data', message: expect.stringContaining('96 positions') });
    process.env['ESPALIER_WRONG_KEY'] = 'a-wrong-key';
    const refused = await httpRolloutEngine({ baseUrl: server.url, model: 'tiny', apiKeyEnv: 'ESPALIER_WRONG_KEY' }).catch((error: Error) => error);
    delete process.env['ESPALIER_WRONG_KEY'];
    expect(refused).toMatchObject({ code: 'network', message: expect.stringContaining('401') });
    expect(String(refused)).not.toContain('a-wrong-key');
    await expect(httpRolloutEngine({ baseUrl: server.url, model: 'tiny', apiKeyEnv: 'ESPALIER_NO_SUCH_KEY' })).rejects.toMatchObject({ code: 'usage' });
    await expect(httpRolloutEngine({ baseUrl: server.url, model: 'other', apiKeyEnv: 'ESPALIER_TEST_KEY' })).rejects.toMatchObject({ code: 'not_found', message: expect.stringContaining('tiny') });
  });

  it('takes over the adapters of a learner, each under a new name', async () => {
    const learner = await tinyEngine({ lora: { rank: 4, alpha: 16 } });
    const dir = join(root, 'adapters');
    mkdirSync(dir);
    const rollouts = publishingAdapters(remote, learner, dir);
    const requests = [{ id: 'x', prompt: prompt(5), seed: 9, sampling: { maxNewTokens: 10, ignoreEos: true } }];
    const tokens = Int32Array.from(prompt(20));
    const batch = { tokens, offsets: Int32Array.of(0, 20), actionIndex: Int32Array.from({ length: 19 }, (_, i) => i + 1), columns: {}, normalizer: { tokens: 19, sequences: 1 } };
    const nll = { specVersion: 'v1', name: 'nll', needs: ['logps'], coupling: 'token', evaluate: ({ logps }: { logps?: Float32Array }) => ({ loss: 0, grads: { logps: Float32Array.from(logps!, () => -1) }, metrics: {} }) };
    const versions = new Set<number>();
    for (let step = 0; step < 3; step++) {
      await learner.learner.forwardBackward(batch, nll as never);
      await learner.learner.optimStep({ learningRate: 0.05 });
      await rollouts.sync!(await learner.learner.publish());
      const [here, there] = [await all(learner, requests), await all(rollouts, requests)];
      expect([...there.get('x/0')!.tokens]).toEqual([...here.get('x/0')!.tokens]);
      there.get('x/0')!.logps!.forEach((logp, t) => expect(logp).toBeCloseTo(here.get('x/0')!.logps![t], 5));
      versions.add(there.get('x/0')!.version);
    }
    expect(versions.size).toBe(3);
    await rollouts.close();
    const { data } = (await (await fetch(`${server.url}/v1/models`, { headers: { authorization: `Bearer ${key}` } })).json()) as { data: { id: string }[] };
    expect(data.map(({ id }) => id)).toEqual(['tiny']); // what is not used any more was unloaded
    await learner.close();
    remote = await httpRolloutEngine({ baseUrl: server.url, model: 'tiny', apiKeyEnv: 'ESPALIER_TEST_KEY' });
  });
});

describe('httpTextModel', () => {
  it('answers, and weighs options by the first token', async () => {
    let tokens = 0;
    const judge = httpTextModel({ baseUrl: server.url, model: 'tiny', apiKeyEnv: 'ESPALIER_TEST_KEY', onUsage: (usage) => (tokens += usage.completionTokens) });
    const question = [{ role: 'user', content: 'Hi' }];
    const texts = await judge.complete([question, 'Hi'], { maxNewTokens: 5, temperature: 1, seeds: [3, 3] });
    expect(texts[0]).toBe(texts[1]);
    expect(tokens).toBeGreaterThan(0);
    const ids = engine.tokenizer.encode(engine.tokenizer.applyChatTemplate(question, { addGenerationPrompt: true }), { addSpecialTokens: false });
    let top: Completion['topLogps'];
    for await (const completion of engine.generate([{ id: 'x', prompt: ids, seed: 0, topLogps: 20, sampling: { temperature: 0, maxNewTokens: 1 } }])) top = completion.topLogps;
    const names = Array.from(top!.tokens, (token) => engine.tokenizer.decode([token]).trim());
    const at = names.findIndex((name, i) => /^\w+$/.test(name) && names.indexOf(name) === i && names.lastIndexOf(name) === i);
    const [known, unknown] = await judge.optionLogps!(question, [names[at], 'no token is like this']);
    expect(known).toBeCloseTo(top!.logps[at], 5);
    expect(unknown).toBe(-Infinity);
  });
});
