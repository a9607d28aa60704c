import { fileURLToPath } from 'node:url';
import { openEngine, type Engine } from '@espalier/engine';
import { describeEnvironment, describeRolloutEngine } from '@espalier/testkit';
import { afterAll, afterEach, beforeAll, describe } from 'vitest';
import { faultyServer, type FaultyServer, type FaultyServerOptions } from './http/faulty-server';
import { builtinEnvironments } from './environments/builtin';
import { httpRolloutEngine } from './http/http-rollout-engine';
import { localRolloutEngine } from './index';

const fixture = (name: string) => fileURLToPath(new URL(`../../models/fixtures/${name}`, import.meta.url));

describe.each(['llama', 'gpt2'])('the local engine on %s', (name) => {
  let engine: Engine;
  beforeAll(async () => void (engine = await openEngine({ model: fixture(name), backend: 'cpu', inline: true })));
  afterAll(() => engine.close());
  describeRolloutEngine(() => localRolloutEngine(engine), { title: 'localRolloutEngine', longest: 32, weights: () => engine.learner.publish() });
});

describe('the HTTP engine', () => {
  const servers: FaultyServer[] = [];
  afterEach(async () => {
    for (const server of servers.splice(0)) await server.close();
  });
  async function open(options: FaultyServerOptions = {}) {
    const server = await faultyServer(options);
    server.choose = ({ max_tokens }) => (max_tokens >= 32 ? 'hang' : null); // what is long is still under way when the signal fires
    servers.push(server);
    const tokenizer = { encode: (text: string) => Int32Array.from([...text].map((c) => c.charCodeAt(0))), decode: (tokens: Iterable<number>) => String.fromCharCode(...tokens) };
    return httpRolloutEngine({ baseUrl: server.url, model: 'fake', baseDelayMs: 1, idleTimeoutMs: 20_000, tokenizer });
  }
  const scripted = 'the model of the test server is a script, which knows neither temperature nor stops';
  const except = { 'takes the likeliest tokens at temperature 0': scripted, 'ends at a stop token, and keeps it': scripted, 'ends at a stop string, and cuts the text before it': scripted } as const;
  const prompts = [Int32Array.of(65, 66, 67), Int32Array.of(72, 105), Int32Array.of(65, 66, 70, 71)];

  describeRolloutEngine(open, { title: 'httpRolloutEngine', prompts, longest: 32, except });
  describeRolloutEngine(() => open({ textOnly: true, refuses: ['return_token_ids', 'logprobs', 'top_k', 'n', 'stream', 'echo'] }), {
    title: 'httpRolloutEngine on a server of text alone', prompts, longest: 32,
    except: { ...except, 'does not change the requests': 'the server refuses stop tokens', 'gives what is under way back as aborted when the signal fires': 'the server refuses ignore_eos' },
  });
});

const reply = (content: string) => ({ role: 'assistant', content });
describeEnvironment(() => builtinEnvironments.guess(), { title: 'the guessing game', rows: [{}, { max: 5 }], seeds: [1, 2, 3], reply: (_, step) => reply(step === 2 ? 'no idea' : `I say ${step + 1}.`), maxSteps: 8 });
describeEnvironment(() => builtinEnvironments.calculator(), {
  title: 'the calculator', rows: [{ prompt: 'What is 12 * 12?' }, { prompt: [{ role: 'user', content: 'And 3 + 4?' }] }],
  reply: (_, step) => reply(['<tool_call>{"name": "calculator", "arguments": {"expression": "12 * 12"}}</tool_call>', '<tool_call>nonsense</tool_call>', '144'][step]), maxSteps: 3,
});
