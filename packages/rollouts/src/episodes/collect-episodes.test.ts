import { defineEnvironment, type Environment, type EnvironmentStep, type Message, type Reward, type RolloutEngine } from '@espalier/spec';
import { afterEach, describe, expect, it } from 'vitest';
import { collectEpisodes, type CollectEpisodesOptions } from './collect-episodes';
import { Conversation } from './conversation';
import { EnvironmentPool, type EnvironmentPoolOptions } from './environment-pool';
import { episodeSample, transcript } from './episode';
import { scripted, tokenizerOf, type Script } from './test-support';

const tokenizer = tokenizerOf('chatml');
const ids = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
const says = (content: string): Message[] => [{ role: 'user', content }];

/** Answers each reply with its number; done after `length` replies, each of which earns its number. */
function counting(change: Partial<Environment> & { length?: number } = {}): Environment {
  const { length = 3, ...rest } = change;
  let step = 0;
  return defineEnvironment({
    name: 'counting',
    async reset(row) {
      step = 0;
      return says(`begin ${String(row['id'] ?? '')}`);
    },
    async step() {
      step++;
      return { ...(step < length ? { observation: says(`seen ${step}`) } : {}), reward: step, done: step >= length };
    },
    ...rest,
  });
}

/** Says `r`, the sample and the turn. */
const numbered: Script = (request, index) => {
  const [, sample = index, turn = 0] = request.id.split('/');
  return { tokens: ids(`r${sample}t${turn}<|im_end|>`), text: `r${sample}t${turn}` };
};

const pools: EnvironmentPool[] = [];
afterEach(async () => void (await Promise.all(pools.splice(0).map((pool) => pool.close()))));

function run(make: () => Environment | Promise<Environment>, more: { script?: Script; engine?: RolloutEngine; pool?: EnvironmentPoolOptions; tasks?: number; environment?: Partial<CollectEpisodesOptions['environment']> } & Omit<CollectEpisodesOptions, 'environment'> = {}) {
  const { script = numbered, pool: options, environment, tasks = 1, engine = scripted(script), ...rest } = more;
  const pool = new EnvironmentPool(make, options);
  pools.push(pool);
  return collectEpisodes(engine, Array.from({ length: tasks }, (_, i) => ({ id: `g${i}`, row: { id: i }, seed: 10 + i })), { sampling: { maxNewTokens: 400 }, ...rest, environment: { pool, conversation: new Conversation(tokenizer), ...environment } });
}
const text = (tokens: Int32Array) => tokenizer.decode(tokens);

describe('episodes', () => {
  it('hold every turn: ids, masks, log-probs, versions, turns and rewards', async () => {
    const engine = scripted(numbered);
    const [{ episodes }] = await run(() => counting(), { engine, n: 2 });
    const [, { trajectory, reward, completion, messages, finishReason, replies }] = episodes;
    expect(text(trajectory.tokens)).toBe(
      '<|im_start|>user\nbegin 0<|im_end|>\n<|im_start|>assistant\nr1t0<|im_end|>\n<|im_start|>user\nseen 1<|im_end|>\n<|im_start|>assistant\nr1t1<|im_end|>\n<|im_start|>user\nseen 2<|im_end|>\n<|im_start|>assistant\nr1t2<|im_end|>',
    );
    // Trained is what the policy sampled, and nothing else.
    expect(text(trajectory.tokens.filter((_, t) => trajectory.trainable[t] === 1))).toBe('r1t0<|im_end|>r1t1<|im_end|>r1t2<|im_end|>');
    expect([...completion.tokens]).toEqual([...trajectory.tokens.filter((_, t) => trajectory.trainable[t] === 1)]);
    // The log-prob of each sampled token, of its own turn; NaN elsewhere.
    const expected = [1, 2, 3].flatMap((call) => [0, 1, 2, 3, 4].map((t) => -(call + t / 8)));
    expect([...trajectory.samplerLogps!.filter((_, t) => trajectory.trainable[t] === 1)]).toEqual(expected);
    expect(trajectory.samplerLogps!.every((logp, t) => Number.isNaN(logp) === (trajectory.trainable[t] === 0))).toBe(true);
    expect([...completion.logps!]).toEqual(expected);
    expect(trajectory.versions.map(({ version, start, end: stop }) => [version, text(trajectory.tokens.subarray(start, stop))])).toEqual([[1, 'r1t0<|im_end|>'], [2, 'r1t1<|im_end|>'], [3, 'r1t2<|im_end|>']]);
    expect(trajectory.turns.map(({ role, content }) => `${role}: ${content}`)).toEqual(['user: begin 0', 'assistant: r1t0', 'user: seen 1', 'assistant: r1t1', 'user: seen 2', 'assistant: r1t2']);
    expect(trajectory.turns.flatMap(({ start, end: stop }) => [start, stop]).slice(1, -1)).toEqual(trajectory.turns.flatMap(({ start, end: stop }) => [start, stop]).slice(1, -1).toSorted((a, b) => a - b)); // one after another
    expect(trajectory.turns.at(-1)!.end).toBe(trajectory.tokens.length);
    expect([finishReason, trajectory.finishReason, replies.length]).toEqual(['stop', 'stop', 3]);
    // 1 + 2 + 3, each on the last token of its reply.
    expect(reward).toMatchObject({ total: 6 });
    expect([...(reward as { perToken: Float32Array }).perToken]).toEqual([0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 3]);
    expect(messages.map(({ content }) => content)).toEqual(['r1t0', 'seen 1', 'r1t1', 'seen 2', 'r1t2']);
    expect(transcript(episodes[1])).toBe('r1t0\n[user] seen 1\nr1t1\n[user] seen 2\nr1t2');
    expect(episodeSample({ id: 'g0', row: { id: 0 }, seed: 1 }, episodes[1], true)).toMatchObject({ completion: 'r1t2', completionTokens: completion.tokens, group: 'g0', messages });

    // What each call of the engine was given is the ids so far: an extension of what it was given before, with what was sampled then.
    const prompts = engine.calls.map((requests) => requests.find(({ id }) => id === 'g0' || id.startsWith('g0/1/'))!.prompt);
    prompts.forEach((prompt, turn) => expect([...trajectory.tokens.subarray(0, prompt.length)], `turn ${turn}`).toEqual([...prompt]));
    expect(engine.calls.map((requests) => requests.map(({ id, n }) => [id, n]))).toEqual([[['g0', 2]], [['g0/0/1', 1], ['g0/1/1', 1]], [['g0/0/2', 1], ['g0/1/2', 1]]]);
    expect(new Set(engine.calls.flat().map(({ seed }) => seed)).size).toBe(5); // a seed for each
  });

  it('are the same whatever they run beside, and whatever time their environments take', async () => {
    const seeded: Script = ({ seed }, index) => ({ tokens: ids(`${seed} ${index}<|im_end|>`), text: `${seed}` });
    const lengths = (row: Record<string, unknown>) => 1 + (Number(row['id']) % 3);
    const slow = () => {
      let length = 1;
      const inner = counting({ length: 9 });
      let step = 0;
      return { ...inner, reset: async (row: Record<string, unknown>, seed: number) => (step = 0, length = lengths(row), inner.reset(row, seed)), step: async (reply: Message) => {
        await new Promise((done) => setTimeout(done, Math.random() * 4));
        const result = await inner.step(reply);
        return { ...result, done: ++step >= length };
      } };
    };
    const all = await run(slow, { script: seeded, tasks: 5, n: 3 });
    expect(all.map(({ episodes }) => episodes.map(({ replies }) => replies.length))).toEqual([[1, 1, 1], [2, 2, 2], [3, 3, 3], [1, 1, 1], [2, 2, 2]]);
    const again = await run(slow, { script: seeded, tasks: 5, n: 3, pool: { concurrency: 1 } });
    const tokens = (groups: typeof all) => groups.map(({ episodes }) => episodes.map(({ trajectory }) => [...trajectory.tokens]));
    expect(tokens(again)).toEqual(tokens(all));
    const alone = await run(slow, { script: seeded, tasks: 2, n: 3 });
    expect(tokens(alone)).toEqual(tokens(all).slice(0, 2));
  });

  it('without an environment are single replies to the prompt of their task', async () => {
    const engine = scripted(() => ({ tokens: Int32Array.of(7, 2), text: 'x', finishReason: 'length' }));
    const [{ episodes: [episode] }] = await collectEpisodes(engine, [{ id: 'a', prompt: 'p', tokens: Int32Array.of(5, 6), row: {}, seed: 3 }]);
    expect(episode).toMatchObject({ finishReason: 'length', reward: null, failure: null, replies: [{ text: 'x' }], prompt: 'p' });
    expect([[...episode.trajectory.tokens], [...episode.trajectory.trainable]]).toEqual([[5, 6, 7, 2], [0, 0, 1, 1]]);
    expect('messages' in episodeSample({ id: 'a', row: {}, seed: 3 }, episode, false)).toBe(false);
    await expect(collectEpisodes(engine, [{ id: 'a', row: {}, seed: 3 }])).rejects.toThrow(/task "a" has no prompt/);
  });

  it('an engine without log-probs gives none', async () => {
    const [{ episodes: [{ trajectory }] }] = await run(() => counting(), { engine: scripted(numbered, { logps: false }) });
    expect(trajectory.samplerLogps).toBeNull();
  });

  it('components and notes of steps add up; a reward at the end alone has no numbers per token', async () => {
    let step = 0;
    const rewards: (Reward | null)[] = [null, { total: 0, components: { calls: 1 } }, { total: 2, components: { calls: 1, won: 1 }, note: 'won' }];
    const [{ episodes: [{ reward }] }] = await run(() => counting({ step: async () => ({ observation: says('go'), reward: rewards[step++], done: step === 3 }) }));
    expect(reward).toEqual({ total: 2, components: { calls: 2, won: 1 }, note: 'won' });
    const [{ episodes: [none] }] = await run(() => counting({ step: async () => ({ done: true }) }));
    expect(none.reward).toBeNull(); // nothing applied, which is not 0
  });

  it.each([['no token', ''], ['one token', '<|im_end|>'], ['a reply that was cut', 'cut']])('%s is a reply too', async (_, reply) => {
    const [{ episodes: [episode] }] = await run(() => counting({ length: 2 }), { script: () => ({ tokens: ids(reply), text: reply.replace('<|im_end|>', ''), finishReason: reply === 'cut' ? 'length' : 'stop' }) });
    expect(episode.replies).toHaveLength(2);
    expect(episode.finishReason).toBe('stop');
    expect(text(episode.trajectory.tokens)).toContain(`assistant\n${reply || '<|im_end|>'.slice(0, 0)}${reply === '<|im_end|>' ? '' : '<|im_end|>'}\n<|im_start|>user\nseen 1`); // closed where it was not
    expect(episode.trajectory.trainable.reduce((a, b) => a + b, 0)).toBe(2 * ids(reply).length);
    expect(typeof episode.reward === 'object' ? episode.reward?.total : episode.reward).toBe(3);
  });
});

describe('limits', () => {
  const endless = () => counting({ length: Infinity });

  it('replies: an episode without an end is cut after `maxTurns`', async () => {
    const engine = scripted(numbered);
    const [{ episodes: [episode] }] = await run(endless, { engine, environment: { maxTurns: 4 } });
    expect(episode).toMatchObject({ finishReason: 'turns', reward: { total: 1 + 2 + 3 + 4 } });
    expect(engine.calls).toHaveLength(4);
    expect(episode.trajectory.trainable.at(-1)).toBe(1); // what nobody replied to is not there
    const [{ episodes: [byDefault] }] = await run(endless, { sampling: {} });
    expect(byDefault.replies).toHaveLength(10);
  });

  it('tokens: replies and observations together', async () => {
    const engine = scripted(numbered);
    const [{ episodes: [episode] }] = await run(endless, { engine, sampling: { maxNewTokens: 100 } });
    expect(episode.finishReason).toBe('length');
    const prompt = engine.calls[0][0].prompt.length;
    expect(episode.trajectory.tokens.length - prompt).toBeLessThanOrEqual(100);
    engine.calls.forEach(([request]) => expect(request.sampling!.maxNewTokens).toBe(100 - (request.prompt.length - prompt)));
    expect(engine.calls.length).toBeGreaterThan(1);
  });

  it('a reply of its own, with which the episode goes on', async () => {
    const engine = scripted(numbered);
    await run(() => counting(), { engine, environment: { maxTurnTokens: 7 } });
    expect(engine.calls.flat().map(({ sampling }) => sampling!.maxNewTokens)).toEqual([7, 7, 7]);
  });

  it('what the last tokens said reaches the environment, and counts as cut off', async () => {
    const script: Script = ({ sampling }) => ({ tokens: ids('x'.repeat(sampling!.maxNewTokens!)), text: 'x', finishReason: 'length' });
    const [{ episodes: [done] }] = await run(() => counting({ length: 1 }), { script, sampling: { maxNewTokens: 6 } });
    expect(done).toMatchObject({ finishReason: 'length', reward: 1 });
    const [{ episodes: [open] }] = await run(() => counting({ length: 5 }), { script, sampling: { maxNewTokens: 6 } });
    expect(open).toMatchObject({ finishReason: 'length', reward: 1 });
  });

  it('a beginning that leaves no room', async () => {
    await expect(run(() => counting(), { environment: { maxPromptTokens: 5 } })).rejects.toMatchObject({ code: 'bad_data', message: expect.stringMatching(/every episode failed: environment "counting" begins with \d+ tokens, and the model's positions leave room for 5/) });
  });
});

describe('a hostile environment', () => {
  /** Of every group, sample 1 misbehaves in its second step; samples get their environment in their order. */
  function oneOf(bad: (options?: { signal?: AbortSignal }) => Promise<EnvironmentStep>, closed: string[] = []) {
    let made = 0;
    return () => {
      const number = made++ % 3;
      const inner = counting();
      let steps = 0;
      return { ...inner, step: async (reply: Message, options?: { signal?: AbortSignal }) => (number === 1 && ++steps === 2 ? bad(options) : inner.step(reply)), close: async () => void closed.push(String(number)) };
    };
  }
  const forever = new Promise<never>(() => undefined);

  it.each<[string, () => Promise<EnvironmentStep>, RegExp]>([
    ['throws', async () => { throw new Error('boom'); }, /environment "counting" failed: boom/],
    ['throws what is no error', async () => { throw 'boom'; }, /failed: boom/],  
    ['hangs', () => forever, /`step` of environment "counting" took longer than 0\.05 s/],
    ['gives nothing', async () => undefined as never, /gave undefined/],
    ['gives a reward that is no number', async () => ({ reward: NaN, done: true }), /gave the reward NaN/],
    ['goes on without an observation', async () => ({ done: false }), /gave undefined where messages are due/],
    ['says what is no message', async () => ({ observation: [{ role: 'user' } as never], done: false }), /gave the message \{"role":"user"\}/],
    ['does not say whether it is done', async () => ({ observation: says('x') }) as never, /an object with `done`/],
  ])('that %s ends its own episode alone, which is not learnt from', async (_, bad, message) => {
    const closed: string[] = [];
    const [{ episodes }] = await run(oneOf(bad, closed), { n: 3, pool: { timeout: 0.05, concurrency: 1 } });
    expect(episodes.map(({ failure }) => failure === null)).toEqual([true, false, true]);
    expect(episodes[1]).toMatchObject({ finishReason: 'aborted', reward: null, failure: { message: expect.stringMatching(message) } });
    expect(episodes[0]).toMatchObject({ finishReason: 'stop', reward: { total: 6 } });
    expect(closed).toEqual(['1']); // it is not used again
  });

  it('that floods is cut off without being tokenised', async () => {
    const flood = 'x'.repeat(50_000_000);
    let longest = 0;
    const watched = { encode: (text: string, options?: { addSpecialTokens?: boolean }) => (longest = Math.max(longest, text.length), tokenizer.encode(text, options)), applyChatTemplate: tokenizer.applyChatTemplate.bind(tokenizer), idToToken: tokenizer.idToToken.bind(tokenizer), specialTokenIds: tokenizer.specialTokenIds };
    const [{ episodes }] = await run(oneOf(async () => ({ observation: says(flood), done: false })), { n: 3, environment: { conversation: new Conversation(watched) } });
    expect(episodes[1]).toMatchObject({ finishReason: 'length', failure: null, reward: { total: 1 } });
    expect(episodes[1].replies).toHaveLength(2);
    expect(longest).toBeLessThan(200);
  });

  it('that never works is an error, and not a run that learns nothing', async () => {
    await expect(run(() => counting({ reset: async () => { throw new Error('no server'); } }), { n: 2 })).rejects.toThrow(/every episode failed: environment "counting" failed: no server/);
    await expect(run(() => ({ ...counting(), specVersion: 'v0' as never }))).rejects.toMatchObject({ code: 'incompatible_plugin' });
    await expect(run(() => ({}) as never)).rejects.toThrow(/has no `reset` and `step`/);
  });

  it('a group whose sample could not begin draws that sample for nobody', async () => {
    let made = 0;
    const [{ episodes }] = await run(() => (made++ === 1 ? counting({ reset: async () => { throw new Error('once'); } }) : counting()), { n: 3, pool: { concurrency: 1 } });
    expect(episodes.map(({ failure }) => failure === null)).toEqual([true, false, true]);
    expect(episodes.map(({ completion }) => completion.text)).toEqual(['r0t2', '', 'r2t2']);
    expect(episodes[1].trajectory.tokens).toHaveLength(0);
  });

  it('whose beginnings differ within a group: each is answered by itself', async () => {
    let made = 0;
    const engine = scripted(numbered);
    const [{ episodes }] = await run(() => { const own = made++; return counting({ reset: async () => says(`begin ${own}`) }); }, { engine, n: 2, pool: { concurrency: 1 } });
    expect(episodes.map(({ prompt }) => (prompt as Message[])[0].content)).toEqual(['begin 0', 'begin 1']);
    expect(engine.calls[0].map(({ id }) => id)).toEqual(['g0', 'g0/1/0']);
    expect(text(episodes[1].trajectory.tokens)).toContain('begin 1');
  });
});

describe('abort', () => {
  it.each(['reset', 'step', 'generate'] as const)('while %s is under way ends at once', async (where) => {
    const controller = new AbortController();
    const hang = () => {
      setTimeout(() => controller.abort(), 5);
      return new Promise<never>(() => undefined);
    };
    const heard: boolean[] = [];
    const environment = () => counting(where === 'generate' ? {} : { [where]: (...args: unknown[]) => { ((args.at(-1) as { signal: AbortSignal }).signal).addEventListener('abort', () => heard.push(true)); return hang(); } });
    const engine = scripted(numbered, where === 'generate' ? { wait: (signal) => new Promise((_, reject) => { signal!.addEventListener('abort', () => reject(Object.assign(new Error('stopped'), { code: 'aborted' }))); setTimeout(() => controller.abort(), 5); }) } : {});
    await expect(run(environment, { engine, n: 2, signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
    if (where !== 'generate') expect(heard).toEqual([true, true]); // the environment was told
  });
});

describe('the pool', () => {
  it('makes as many environments as run at once, uses them again, and closes them all', async () => {
    let made = 0;
    let closed = 0;
    let running = 0;
    let most = 0;
    const pool = new EnvironmentPool(() => { made++; const inner = counting(); return { ...inner, step: async (reply: Message) => { most = Math.max(most, ++running); await new Promise((done) => setTimeout(done, 1)); running--; return inner.step(reply); }, close: async () => void closed++ }; }, { concurrency: 2 });
    const options = { n: 4, sampling: { maxNewTokens: 400 }, environment: { pool, conversation: new Conversation(tokenizer) } };
    expect(await pool.facts()).toEqual({ name: 'counting', tools: [] });
    for (let round = 0; round < 3; round++) await collectEpisodes(scripted(numbered), [{ id: 'a', row: {}, seed: round }], options);
    expect([made, most]).toEqual([4, 2]);
    await pool.close();
    expect(closed).toBe(4);
    await expect(pool.take()).rejects.toMatchObject({ code: 'closed' });
  });

  it('closes what does not close, and refuses limits that are none', async () => {
    const pool = new EnvironmentPool(() => counting({ close: () => new Promise(() => undefined) }), { timeout: 0.02 });
    await pool.facts();
    await pool.close();
    expect(() => new EnvironmentPool(() => counting(), { concurrency: 0 })).toThrow(/concurrency of environments is 0/);
    expect(() => new EnvironmentPool(() => counting(), { timeout: NaN })).toThrow(/time-out of environments is NaN/);
  });
});

