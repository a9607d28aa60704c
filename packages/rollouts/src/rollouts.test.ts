import { describe, expect, it } from 'vitest';
import { EspalierError, type Completion, type GenerateRequest, type Message, type RolloutEngine } from '@espalier/spec';
import type { Engine } from '@espalier/engine';
import type { Tokenizer } from '@espalier/models';
import { collectGroups, rewardSamples } from './collect-groups';
import { encodePrompt, localRolloutEngine } from './index';
import { textModel } from './text-model';

/** One token a character, and a one-line chat template. */
const tokenizer = {
  encode: (text: string, options?: { addSpecialTokens?: boolean }) => Int32Array.from([...(options?.addSpecialTokens === false ? [] : [1]), ...[...text].map((c) => c.charCodeAt(0))]),
  decode: (tokens: Int32Array) => String.fromCharCode(...tokens),
  applyChatTemplate: (messages: readonly Message[]) => `${messages.map(({ role, content }) => `${role}: ${content}`).join('|')}|assistant:`,
} as unknown as Tokenizer;

/** Answers with the sample's index, the last sample first. */
function echo(overrides: Partial<RolloutEngine> = {}): RolloutEngine & { requests: GenerateRequest[] } {
  const requests: GenerateRequest[] = [];
  return {
    requests,
    specVersion: 'v1',
    name: 'echo',
    capabilities: { tokenIds: true, logps: true, sync: 'none' },
    async *generate(asked) {
      requests.push(...asked);
      for (const { id, n = 1 } of [...asked].reverse())
        for (let index = n - 1; index >= 0; index--)
          yield { requestId: id, index, tokens: Int32Array.of(50 + index, 2), logps: Float32Array.of(-index, -0.5), text: `${id}:${index}`, finishReason: 'stop', version: 4 } satisfies Completion;
    },
    close: async () => {},
    ...overrides,
  };
}

const prompts = ['a', 'b'].map((id, i) => ({ id, prompt: `say ${id}`, tokens: Int32Array.of(7, 8 + i, 9), row: { answer: i }, seed: 10 + i }));

describe('collectGroups', () => {
  it('puts completions into groups by prompt and index, whatever order they end in', async () => {
    const seen: number[] = [];
    const groups = await collectGroups(echo(), prompts, { n: 3, onCompletion: (_, done, total) => seen.push(done / total) });
    expect(groups.map(({ completions }) => completions.map(({ text }) => text))).toEqual([
      ['a:0', 'a:1', 'a:2'],
      ['b:0', 'b:1', 'b:2'],
    ]);
    expect(seen.at(-1)).toBe(1);
    const [trajectory] = groups[1].trajectories;
    expect(trajectory).toMatchObject({ id: 'b/0', group: 'b', seed: 11, finishReason: 'stop', versions: [{ version: 4, start: 3, end: 5 }] });
    expect([...trajectory.tokens]).toEqual([7, 9, 9, 50, 2]);
    expect([...trajectory.trainable]).toEqual([0, 0, 0, 1, 1]);
    expect([...trajectory.samplerLogps!]).toEqual([NaN, NaN, NaN, -0, -0.5]);
    expect(rewardSamples(groups)[3]).toMatchObject({ completion: 'b:0', group: 'b', row: { answer: 1 }, prompt: 'say b' });
  });

  it('refuses two prompts of one id, and an engine that leaves samples out', async () => {
    await expect(collectGroups(echo(), [prompts[0], prompts[0]])).rejects.toMatchObject({ code: 'bad_data' });
    await expect(collectGroups(echo({ async *generate() {} }), prompts)).rejects.toMatchObject({ code: 'internal', message: expect.stringContaining('no sample 0 of "a"') });
  });

  it('throws when it is aborted', async () => {
    const controller = new AbortController();
    await expect(collectGroups(echo(), prompts, { n: 2, signal: controller.signal, onCompletion: () => controller.abort() })).rejects.toMatchObject({ code: 'aborted' });
  });
});

describe('textModel', () => {
  it('gives texts in the order of the prompts, and encodes messages through the chat template', async () => {
    const engine = echo();
    const texts = await textModel(engine, tokenizer).complete(['x', [{ role: 'user', content: 'y' }]], { seed: 5 });
    expect(texts).toEqual(['0:0', '1:0']);
    expect(engine.requests.map(({ seed }) => seed)).toEqual([5, 6]);
    expect(tokenizer.decode(engine.requests[1].prompt)).toBe('user: y|assistant:');
    expect(engine.requests[0].prompt[0]).toBe(1);
  });

  it('cuts an answer that reached the limit back to its last whole sentence where that is asked for', async () => {
    const texts = ['It is so. And then', 'It is so. And then'];
    const engine = echo({
      async *generate(requests: readonly { id: string; prompt: Int32Array }[]) {
        for (const [i, { id }] of requests.entries()) yield { requestId: id, index: 0, text: texts[i], finishReason: i === 0 ? 'length' : 'stop' } as unknown as Completion;
      },
    });
    await expect(textModel(engine, tokenizer).complete(['a', 'b'], { wholeSentences: true })).resolves.toEqual(['It is so.', 'It is so. And then']);
    await expect(textModel(engine, tokenizer).complete(['a', 'b'])).resolves.toEqual(texts);
  });

  it('adds up the log-probs of an option, and has no optionLogps where the engine does not score', async () => {
    const score = async (sequences: readonly Int32Array[]) => sequences.map((sequence) => Float32Array.from(sequence, (_, i) => (i === 0 ? NaN : -i)));
    const model = textModel(echo({ score }), tokenizer);
    await expect(model.optionLogps!('ab', ['c', 'de'])).resolves.toEqual([-3, -7]); // the prompt is 3 tokens long
    expect(textModel(echo(), tokenizer).optionLogps).toBeUndefined();
  });

  it('asks for continuations at once where the engine scores them, and takes a seed a prompt', async () => {
    const asked: unknown[] = [];
    const engine = echo({ scoreContinuations: async (questions) => questions.map(({ prompt, continuations }) => continuations.map((option) => asked.push([tokenizer.decode(prompt.slice(1)), tokenizer.decode(option)]))) });
    const model = textModel(engine, tokenizer);
    await expect(model.optionLogpsAll!([{ prompt: 'a', options: ['x', 'y'] }, { prompt: 'b', options: ['z'] }])).resolves.toEqual([[1, 2], [3]]);
    expect(asked).toEqual([['a', 'x'], ['a', 'y'], ['b', 'z']]);
    await model.complete(['a', 'b'], { seed: 1, seeds: [40, 7] });
    expect(engine.requests.map(({ seed }) => seed)).toEqual([40, 7]);
    await expect(model.complete(['a', 'b'], { seeds: [1] })).rejects.toMatchObject({ code: 'bad_config' });
  });

  it('refuses an empty prompt', () => {
    const bare = { ...tokenizer, encode: () => new Int32Array(0) } as unknown as Tokenizer;
    expect(() => encodePrompt(bare, '')).toThrow(EspalierError);
  });
});

describe('localRolloutEngine', () => {
  const engine = { info: { id: 'one' } } as unknown as Engine;

  it('takes over its own weights only', async () => {
    const rollouts = localRolloutEngine(engine);
    await rollouts.sync!({ kind: 'memory', id: 'one', version: 1, digest: '' });
    await expect(rollouts.sync!({ kind: 'memory', id: 'two', version: 1, digest: '' })).rejects.toMatchObject({ code: 'unsupported' });
    await expect(rollouts.sync!({ kind: 'full', uri: 'file:///x', version: 1, digest: '' })).rejects.toMatchObject({ code: 'unsupported' });
  });

  it('serves nothing once it is closed', async () => {
    const rollouts = localRolloutEngine(engine);
    await rollouts.close();
    expect(() => rollouts.generate([])).toThrowError(expect.objectContaining({ code: 'closed' }));
  });
});
