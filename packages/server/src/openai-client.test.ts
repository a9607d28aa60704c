import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '@espalier/engine';
import type { Completion } from '@espalier/spec';
import type { RunningServer } from './serve';
import { serveTiny, tinyEngine } from './testing';

const run = promisify(execFile);

let engine: Engine;
let server: RunningServer;
let client: OpenAI;

beforeAll(async () => {
  engine = await tinyEngine();
  server = await serveTiny(engine);
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 });
}, 60_000);

afterAll(async () => {
  await server.close();
  await engine.close();
});

async function direct(prompt: Int32Array, seed: number, n: number, maxNewTokens: number): Promise<Completion[]> {
  const all: Completion[] = [];
  for await (const completion of engine.generate([{ id: 'x', prompt, seed, n, sampling: { maxNewTokens, ignoreEos: true } }])) all[completion.index] = completion;
  return all;
}

const messages = [{ role: 'user' as const, content: 'Hi there' }];
const extras = (fields: object): object => fields; // vLLM's fields are not in the client's types

describe('the official openai client', () => {
  it('lists and names models', async () => {
    const { data } = await client.models.list();
    expect(data.map(({ id }) => id)).toEqual(['tiny']);
    expect(await client.models.retrieve('tiny')).toMatchObject({ id: 'tiny', object: 'model', owned_by: 'espalier', max_model_len: 96 });
    await expect(client.models.retrieve('other/model')).rejects.toMatchObject({ status: 404, code: 'model_not_found' });
  });

  it('completes token ids with the tokens and log-probs of the engine', async () => {
    const prompt = [5, 9, 33, 60];
    const expected = await direct(Int32Array.from(prompt), 7, 2, 6);
    const answer = await client.completions.create({ model: 'tiny', prompt, max_tokens: 6, n: 2, seed: 7, logprobs: 0, ...extras({ return_token_ids: true, ignore_eos: true }) });
    expect(answer.usage).toEqual({ prompt_tokens: 4, completion_tokens: 12, total_tokens: 16 });
    answer.choices.forEach((choice, k) => {
      expect(choice).toMatchObject({ index: k, text: expected[k].text, finish_reason: 'length', token_ids: [...expected[k].tokens], prompt_token_ids: prompt });
      expect(Float32Array.from(choice.logprobs!.token_logprobs!)).toEqual(expected[k].logps);
    });
  });

  it('streams a completion: the pieces are the whole', async () => {
    const ask = { model: 'tiny', prompt: 'abc', max_tokens: 12, n: 2, seed: 3, logprobs: 2, ...extras({ return_token_ids: true, ignore_eos: true }) };
    const whole = await client.completions.create({ ...ask, stream: false });
    const texts = ['', ''];
    const tokens: number[][] = [[], []];
    const logps: number[][] = [[], []];
    const tops: object[][] = [[], []];
    const reasons: (string | null)[] = [null, null];
    let usage;
    for await (const chunk of await client.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } })) {
      usage = chunk.usage ?? usage;
      for (const choice of chunk.choices) {
        texts[choice.index] += choice.text;
        tokens[choice.index].push(...(choice as unknown as { token_ids: number[] }).token_ids);
        logps[choice.index].push(...choice.logprobs!.token_logprobs!);
        tops[choice.index].push(...choice.logprobs!.top_logprobs!);
        reasons[choice.index] = choice.finish_reason ?? reasons[choice.index];
      }
    }
    expect(usage).toEqual(whole.usage);
    whole.choices.forEach((choice, k) => {
      expect(texts[k]).toBe(choice.text);
      expect(tokens[k]).toEqual((choice as unknown as { token_ids: number[] }).token_ids);
      expect(logps[k]).toEqual(choice.logprobs!.token_logprobs);
      expect(tops[k]).toEqual(choice.logprobs!.top_logprobs);
      expect(reasons[k]).toBe('length');
    });
  });

  it('chats, streaming or not', async () => {
    const ask = { model: 'tiny', messages, max_completion_tokens: 10, seed: 11, temperature: 0.8, logprobs: true, top_logprobs: 2 };
    const whole = await client.chat.completions.create(ask);
    const { message, logprobs, finish_reason: reason } = whole.choices[0];
    expect(message.role).toBe('assistant');
    expect(logprobs!.content![0].top_logprobs).toHaveLength(2);
    let text = '';
    let role;
    let last;
    const streamedLogps: number[] = [];
    for await (const chunk of await client.chat.completions.create({ ...ask, stream: true })) {
      const [choice] = chunk.choices;
      text += choice.delta.content ?? '';
      role = choice.delta.role ?? role;
      last = choice.finish_reason ?? last;
      streamedLogps.push(...(choice.logprobs?.content ?? []).map(({ logprob }) => logprob));
    }
    expect({ text, role, last }).toEqual({ text: message.content, role: 'assistant', last: reason });
    expect(streamedLogps).toEqual(logprobs!.content!.map(({ logprob }) => logprob));
  });

  it('takes lists of texts and of token ids; the same prompt and seed give the same, wherever it stands', async () => {
    const ask = { model: 'tiny', max_tokens: 5, seed: 1, ...extras({ ignore_eos: true }) };
    const both = await client.completions.create({ ...ask, prompt: ['ab', 'cd'] });
    const [ab] = (await client.completions.create({ ...ask, prompt: 'ab' })).choices;
    const ids = await client.completions.create({ ...ask, prompt: ['cd', 'ab'].map((text) => [...engine.tokenizer.encode(text)]) });
    expect(both.choices[0].text).toBe(ab.text);
    expect(ids.choices.map(({ text }) => text)).toEqual([both.choices[1].text, ab.text]);
  });

  it('stops at a stop string, of which no part is streamed', async () => {
    const ask = { model: 'tiny', prompt: 'abc', max_tokens: 40, seed: 5, ...extras({ ignore_eos: true }) };
    const free = (await client.completions.create(ask)).choices[0].text;
    const stop = free.slice(6, 9);
    const cut = (await client.completions.create({ ...ask, stop })).choices[0];
    expect(cut).toMatchObject({ text: free.slice(0, free.indexOf(stop)), finish_reason: 'stop' });
    let text = '';
    for await (const chunk of await client.completions.create({ ...ask, stop, stream: true })) text += chunk.choices[0].text;
    expect(text).toBe(cut.text);
  });

  it('echoes and scores prompts as the engine scores them', async () => {
    const prompt = [5, 9, 33, 60, 12];
    const [expected] = await engine.score([Int32Array.from(prompt)]);
    const echo = await client.completions.create({ model: 'tiny', prompt, max_tokens: 0, echo: true, logprobs: 0 });
    const { token_logprobs: logps } = echo.choices[0].logprobs!;
    expect(logps![0]).toBeNull();
    expect(Float32Array.from(logps!.slice(1))).toEqual(expected.slice(1));
    expect(echo.usage!.completion_tokens).toBe(0);
    const scored = await client.completions.create({ model: 'tiny', prompt, max_tokens: 1, ...extras({ prompt_logprobs: 0 }) });
    const own = (scored.choices[0] as unknown as { prompt_logprobs: (Record<string, { logprob: number }> | null)[] }).prompt_logprobs;
    expect(own[0]).toBeNull();
    expect(own.slice(1).map((entry, t) => entry![prompt[t + 1]].logprob)).toEqual([...expected.slice(1)]);
  });

  it('gets errors that say what was wrong', async () => {
    await expect(client.chat.completions.create({ model: 'nobody', messages })).rejects.toMatchObject({ status: 404, code: 'model_not_found', param: 'model' });
    await expect(client.completions.create({ model: 'tiny', prompt: 'a', max_tokens: 500 })).rejects.toMatchObject({ status: 400, code: 'context_length_exceeded' });
    await expect(client.completions.create({ model: 'tiny', prompt: 'a', temperature: -1 })).rejects.toMatchObject({ status: 400, param: 'temperature' });
    await expect(client.completions.create({ model: 'tiny', prompt: 'a', ...extras({ max_token: 5 }) })).rejects.toMatchObject({ status: 400, code: 'unknown_parameter', param: 'max_token' });
    await expect(client.chat.completions.create({ model: 'tiny', messages, frequency_penalty: 1 })).rejects.toMatchObject({ status: 400, param: 'frequency_penalty' });
    await expect(client.chat.completions.create({ model: 'tiny', messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }] })).rejects.toMatchObject({ status: 400, param: expect.stringMatching(/^messages.0.content/) });
  });
});

describe('curl', () => {
  const curl = async (...args: string[]) => (await run('curl', ['-sS', '-N', '--max-time', '30', ...args])).stdout;

  it('completes, streams and reads the metrics', async () => {
    const json = ['-H', 'content-type: application/json', '-d'];
    const whole = JSON.parse(await curl(`${server.url}/v1/completions`, ...json, '{"model":"tiny","prompt":"abc","max_tokens":4,"seed":1,"ignore_eos":true}')) as { choices: { text: string }[] };
    const lines = (await curl(`${server.url}/v1/completions`, ...json, '{"model":"tiny","prompt":"abc","max_tokens":4,"seed":1,"ignore_eos":true,"stream":true}')).split('\n\n').filter(Boolean);
    expect(lines.at(-1)).toBe('data: [DONE]');
    expect(lines.slice(0, -1).map((line) => (JSON.parse(line.slice(6)) as typeof whole).choices[0].text).join('')).toBe(whole.choices[0].text);
    const metrics = await curl(`${server.url}/metrics`);
    expect(metrics).toMatch(/^espalier_requests_total\{route="\/v1\/completions",status="200"\} [1-9]/m);
    expect(metrics).toMatch(/^espalier_samples_in_flight 0$/m);
    expect(await curl(`${server.url}/health`)).toBe('{"status":"ok"}');
  });

  it('tokenises and back', async () => {
    const post = async (path: string, body: object) => JSON.parse(await curl(server.url + path, '-H', 'content-type: application/json', '-d', JSON.stringify(body))) as { count: number; tokens: number[]; prompt: string; max_model_len: number };
    const { tokens, count, max_model_len: most } = await post('/tokenize', { model: 'tiny', prompt: 'hello you' });
    expect([count, most]).toEqual([tokens.length, 96]);
    expect(tokens).toEqual([...engine.tokenizer.encode('hello you')]);
    expect((await post('/detokenize', { model: 'tiny', tokens })).prompt).toBe('hello you');
    const chat = await post('/tokenize', { messages });
    expect(chat.tokens).toEqual([...engine.tokenizer.encode(engine.tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true }), { addSpecialTokens: false })]);
  });
});
