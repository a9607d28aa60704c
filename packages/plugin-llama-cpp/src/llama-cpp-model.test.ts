import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { llamaCppModel, plugin } from './index';
import type { LlamaModule, LlamaSequence, Token } from './node-llama-cpp';

let file: string;
let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-llama-'));
  file = join(dir, 'judge.gguf');
  await writeFile(file, 'GGUF');
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** One token a character; the next character is the one after, in the alphabet, with a logit of 3 against 0 (and 2.5 for the one after that). `z` ends. */
function fakeModule(options: { template?: string; broken?: boolean; logits?: boolean } = {}) {
  const log = { evaluated: [] as string[], disposed: [] as string[], seeds: [] as number[] };
  let state: Token[] = [];
  const text = (tokens: readonly Token[]) => String.fromCharCode(...tokens);
  const codes = (value: string): Token[] => [...value].map((c) => c.charCodeAt(0));
  const logitsAfter = (token: Token) => new Map(codes('abcdefghijklmnopqrstuvwxyz').map((other) => [other, other === token + 1 ? 3 : other === token + 2 ? 2.5 : 0]));
  const sequence: LlamaSequence = {
    get nextTokenIndex() {
      return state.length;
    },
    async adaptStateToTokens(tokens) {
      let same = 0;
      while (same < Math.min(tokens.length, state.length) && tokens[same] === state[same]) same++;
      state = state.slice(0, same);
    },
    async eraseContextTokenRanges([{ start, end }]) {
      state.splice(start, end - start);
    },
    async *evaluate(tokens, { seed }) {
      log.evaluated.push(text(tokens));
      log.seeds.push(seed!);
      state.push(...tokens);
      for (let token = state.at(-1)! + 1; ; token++) {
        yield token;
        state.push(token);
      }
    },
    async controlledEvaluate(input) {
      log.evaluated.push(text(input.map((entry) => (Array.isArray(entry) ? entry[0] : entry))));
      return input.map((entry) => {
        const token = Array.isArray(entry) ? entry[0] : entry;
        state.push(token);
        return Array.isArray(entry) ? { next: options.logits === false ? {} : { logits: logitsAfter(token) } } : undefined;
      });
    },
  };
  const wrapper = (name: string) => ({ generateContextState: ({ chatHistory }: { chatHistory: object[] }) => ({ contextText: { tokenize: () => codes(`${name}:${JSON.stringify(chatHistory)}a`) } }) });
  const module: LlamaModule = {
    getLlama: async () => ({
      async loadModel() {
        if (options.broken) throw new Error('invalid magic');
        return {
          tokenizer: {},
          tokens: { bos: 94, shouldPrependBosToken: true },
          fileInfo: { metadata: { tokenizer: options.template === undefined ? {} : { chat_template: options.template } } },
          trainContextSize: 512,
          tokenize: codes,
          detokenize: text,
          isEogToken: (token) => token === 'z'.charCodeAt(0),
          createContext: async ({ contextSize }) => ({ contextSize: contextSize!, getSequence: () => sequence, dispose: async () => void log.disposed.push('context') }),
          dispose: async () => void log.disposed.push('model'),
        };
      },
      dispose: async () => void log.disposed.push('llama'),
    }),
    resolveChatWrapper: () => wrapper('plain'),
    JinjaTemplateChatWrapper: class {
      private readonly inner: ReturnType<typeof wrapper>;
      constructor({ template }: { template: string }) {
        this.inner = wrapper(template);
      }
      generateContextState(given: { chatHistory: object[] }) {
        return this.inner.generateContextState(given);
      }
    },
  };
  return { module, log };
}
const open = async (options: Parameters<typeof fakeModule>[0] = {}, more: { contextSize?: number } = {}) => {
  const { module, log } = fakeModule(options);
  return { model: await llamaCppModel({ model: file, ...more }, async () => module), log };
};

describe('llamaCppModel', () => {
  it('generates to the end of sequence, the limit or a stop string, with a seed a prompt', async () => {
    const { model, log } = await open();
    expect(await model.complete(['w', 'a'], { maxNewTokens: 4, seeds: [7, 8] })).toEqual(['xy', 'bcde']);
    expect(await model.complete(['a'], { maxNewTokens: 9, stop: ['de'] })).toEqual(['bc']);
    expect(log.seeds.slice(0, 2)).toEqual([7, 8]);
    expect(log.evaluated[0]).toBe('^w'); // the beginning-of-sequence token of this vocabulary
  });

  it('adds up the log-probs of an option, and computes a prompt once', async () => {
    const { model, log } = await open();
    const total = Math.log(Math.exp(3) + Math.exp(2.5) + 24);
    const [b, bd, c] = await model.optionLogps('xa', ['b', 'bd', 'c']);
    expect(b).toBeCloseTo(3 - total, 12);
    expect(bd).toBeCloseTo(3 - total + 2.5 - total, 12);
    expect(c).toBeCloseTo(2.5 - total, 12);
    expect(log.evaluated).toEqual(['^xa', 'b']);
    expect(await model.optionLogpsAll!([{ prompt: 'xa', options: ['b'] }, { prompt: 'xab', options: ['c'] }])).toEqual([[b], [expect.closeTo(3 - total, 12)]]);
    expect(log.evaluated.slice(2)).toEqual(['a', 'b']);
  });

  it("writes messages by the file's own template, or by llama.cpp's for a file without one", async () => {
    const messages = [{ role: 'system', content: 's' }, { role: 'user', content: 'u' }, { role: 'assistant', content: 'v' }, { role: 'user', content: 'w' }];
    const { model, log } = await open({ template: 'jinja' });
    await model.complete([messages], { maxNewTokens: 1 });
    expect(log.evaluated[0]).toBe('jinja:[{"type":"system","text":"s"},{"type":"user","text":"u"},{"type":"model","response":["v"]},{"type":"user","text":"w"},{"type":"model","response":[]}]a');
    const without = await open();
    await without.model.complete([messages.slice(1, 2)], { maxNewTokens: 1 });
    expect(without.log.evaluated[0]).toMatch(/^plain:/);
    await expect(model.complete([messages.slice(0, 3)])).rejects.toMatchObject({ code: 'bad_data' });
  });

  it('answers calls one after another, and none once it is closed', async () => {
    const { model, log } = await open();
    const both = Promise.all([model.complete(['a'], { maxNewTokens: 2 }), model.optionLogps('a', ['b'])]);
    const closing = model.close();
    expect((await both)[0]).toEqual(['bc']);
    await closing;
    await model.close();
    expect(log.disposed).toEqual(['context', 'model', 'llama']);
    await expect(model.complete(['a'])).rejects.toMatchObject({ code: 'closed' });
  });

  it('says what is wrong', async () => {
    const missing = Object.assign(new Error("Cannot find package 'node-llama-cpp' imported from x"), { code: 'ERR_MODULE_NOT_FOUND' });
    await expect(llamaCppModel({ model: file }, () => Promise.reject(missing))).rejects.toMatchObject({ code: 'backend_unavailable', fix: 'npm install node-llama-cpp' });
    await expect(llamaCppModel({ model: file }, () => Promise.reject(new Error('no binary')))).rejects.toMatchObject({ code: 'backend_unavailable', message: expect.stringContaining('no binary') as string });
    await expect(llamaCppModel({ model: join(dir, 'none.gguf') })).rejects.toMatchObject({ code: 'not_found' });
    await expect(plugin.textModels['llama-cpp']({ model: file, layers: 3 })).rejects.toMatchObject({ code: 'bad_config', message: expect.stringContaining('unknown field `layers`') as string });
    await expect(plugin.textModels['llama-cpp']({})).rejects.toMatchObject({ code: 'bad_config' });
    const broken = fakeModule({ broken: true });
    await expect(llamaCppModel({ model: file }, async () => broken.module)).rejects.toMatchObject({ code: 'bad_checkpoint' });
    expect(broken.log.disposed).toEqual(['llama']);
    const { model } = await open({}, { contextSize: 4 });
    await expect(model.complete(['abcdef'])).rejects.toMatchObject({ code: 'bad_data', message: expect.stringContaining('context of 4') as string });
    await expect((await open({ logits: false })).model.optionLogps('a', ['b'])).rejects.toMatchObject({ code: 'unsupported' });
    await expect(model.complete(['a'], { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'aborted' });
  });
});
