import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { namedModel } from './commands/serve';
import { complaints, espalier, fixture, onlyJson } from './testing';

const bin = fileURLToPath(new URL('../bin/espalier.js', import.meta.url));

describe('espalier serve', () => {
  it('serves by the name that was given; SIGTERM drains it: what runs ends, and the status is 0', async () => {
    const child = spawn(process.execPath, [bin, 'serve', '--model', `tiny=${fixture('smollm2')}`, '--port', '0', '--json'], { env: { ...process.env, ESPALIER_BACKEND: 'cpu', ESPALIER_API_KEY: '', NODE_OPTIONS: '' } });
    const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
    const { url, models } = JSON.parse(await new Promise<string>((resolve) => child.stdout.once('data', (text: Buffer) => resolve(text.toString())))) as { url: string; models: string[] };
    expect(models).toEqual(['tiny']);
    const response = await fetch(`${url}/v1/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ prompt: [5, 6], max_tokens: 80, ignore_eos: true, stream: true }) });
    expect(response.status).toBe(200);
    child.kill('SIGTERM');
    expect(await response.text()).toMatch(/"finish_reason":"length".*\n\ndata: \[DONE\]\n\n$/s);
    expect(await exited).toBe(0);
  }, 60_000);

  it.each([
    [['--model', fixture('smollm2'), '--host', '0.0.0.0'], /ESPALIER_API_KEY/],
    [['--model', fixture('smollm2'), '--adapter', 'nowhere'], /--adapter.*NAME=DIR/],
    [['--model', 'a=x', '--model', 'a=y'], /two models would be called "a"/],
    [['--model', fixture('smollm2'), '--port', '70000'], /port/],
    [[], /model/],
  ])('%j is wrong usage', async (args, message) => {
    const outcome = await espalier(['serve', ...args], { env: { ESPALIER_API_KEY: '' } });
    expect(outcome.status).toBe(2);
    expect(complaints(outcome).join()).toMatch(message);
  }, 60_000);

  it('names models by their file, folder or hub id', () => {
    expect(namedModel('org/name').id).toBe('org/name');
    expect(namedModel('./runs/my model.gguf').id).toBe('my-model');
    expect(namedModel('mine=org/name')).toEqual({ id: 'mine', root: 'org/name' });
    expect(namedModel(fixture('smollm2')).id).toBe('smollm2');
  });
});

describe('espalier chat', () => {
  it('answers the lines of a pipe, of every model, and forgets at /reset', async () => {
    const child = spawn(process.execPath, [bin, 'chat', '--model', fixture('smollm2'), '--model', fixture('llama'), '--max-new-tokens', '6', '--system', 'Be short.', '--json'], { env: { ...process.env, ESPALIER_BACKEND: 'cpu', NODE_OPTIONS: '' } });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (text: Buffer) => (stdout += text.toString()));
    child.stderr.on('data', (text: Buffer) => (stderr += text.toString()));
    const exited = new Promise<number | null>((resolve) => child.once('close', resolve));
    child.stdin.end('Hi\n/reset\nHello\nmore\n/quit\nnever\n');
    const { conversations } = onlyJson({ status: await exited, signal: null, stdout, stderr }) as { conversations: { model: string; messages: { role: string; content: string }[] }[] };
    expect(conversations.map(({ model }) => model)).toEqual(['smollm2', 'llama']);
    for (const { messages } of conversations) {
      expect(messages.map(({ role }) => role)).toEqual(['system', 'user', 'assistant', 'user', 'assistant']);
      expect(messages.filter(({ role }) => role === 'user').map(({ content }) => content)).toEqual(['Hello', 'more']);
    }
  }, 60_000);
});
