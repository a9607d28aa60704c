import type { Message } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { evaluateExpression, calculator } from '../environments/calculator';
import { defineTool } from './define-tool';
import { parseToolCalls } from './parse-tool-calls';
import { toolEnvironment } from './tool-environment';

const call = (name: string, args: unknown) => `<tool_call>\n${JSON.stringify({ name, arguments: args })}\n</tool_call>`;
const reply = (content: string): Message => ({ role: 'assistant', content });

describe('defineTool', () => {
  it('derives the JSON schema, descriptions and defaults included', () => {
    const tool = defineTool({ name: 'find', description: 'Finds.', parameters: z.object({ query: z.string().min(1).describe('what'), limit: z.int().positive().default(5), kind: z.enum(['a', 'b']).optional() }), execute: ({ limit }) => limit + 1 });
    expect(tool.parameters).toMatchObject({
      type: 'object', required: ['query'],
      properties: { query: { type: 'string', minLength: 1, description: 'what' }, limit: { type: 'integer', default: 5 }, kind: { enum: ['a', 'b'] } },
    });
    expect('$schema' in tool.parameters).toBe(false);
  });

  it.each([
    [{ name: 'two words', description: 'x', parameters: z.object({}) }, /the name of a tool is "two words"/],
    [{ name: 'a', description: ' ', parameters: z.object({}) }, /has no description/],
    [{ name: 'a', description: 'x', parameters: z.string() as never }, /are no zod object/],
    [{ name: 'a', description: 'x', parameters: z.object({ at: z.date() }) }, /have no JSON schema/],
  ])('refuses %o', (tool, message) => {
    expect(() => defineTool({ ...tool, execute: () => null })).toThrow(message);
  });
});

describe('parseToolCalls', () => {
  const add = { name: 'add', arguments: { a: 1 } };
  it.each<[string, string, unknown[]]>([
    ['Hermes', `I will call.\n${call('add', { a: 1 })}`, [add]],
    ['several', call('add', { a: 1 }) + call('sub', {}), [add, { name: 'sub', arguments: {} }]],
    ['one that is not closed', '<tool_call>{"name": "add", "arguments": {"a": 1}}', [add]],
    ['two of which the first is not closed', '<tool_call>{"name": "add", "arguments": {"a": 1}}<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>', [add, add]],
    ['arguments as text, as OpenAI has them', '<tool_call>{"function": {"name": "add", "arguments": "{\\"a\\": 1}"}}</tool_call>', [add]],
    ['Mistral', '[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1}}]', [add]],
    ['Mistral without its special token', ' [{"name": "add", "arguments": {"a": 1}}, {"name": "add", "arguments": {"a": 1}}]', [add, add]],
    ['Llama', '<|python_tag|>{"name": "add", "parameters": {"a": 1}}', [add]],
    ['Llama without its special token', '{"name": "add", "parameters": {"a": 1}}', [add]],
    ['an answer', 'It is 3.', []],
    ['an answer in JSON', '{"name": "Ada", "age": 36}', []],
    ['an answer that begins like JSON', '[1] is right', []],
    ['a list that is an answer', '[]', []],
    ['no JSON', '<tool_call>add(1, 2)</tool_call>', [{ error: expect.stringMatching(/^this is no JSON/) }]],
    ['an empty one', '<tool_call></tool_call>', [{ error: expect.stringMatching(/^this is no JSON/) }]],
    ['no name', '<tool_call>{"arguments": {}}</tool_call>', [{ error: 'the call has no "name"' }]],
    ['a list of arguments', '<tool_call>{"name": "add", "arguments": [1, 2]}</tool_call>', [{ error: 'the "arguments" of "add" are no JSON object' }]],
    ['no object', '<tool_call>3</tool_call>', [{ error: 'a call is a JSON object with "name" and "arguments"' }]],
    ['Mistral, broken', '[TOOL_CALLS] [{"name": ', [{ error: expect.stringMatching(/^this is no JSON/) }]],
  ])('%s', (_, text, calls) => expect(parseToolCalls(text)).toEqual(calls));

  it('takes what is meant to be slow', () => {
    expect(parseToolCalls('<tool_call>'.repeat(20_000))).toHaveLength(20_000);
    expect(parseToolCalls('['.repeat(100_000))).toEqual([]);
    expect(parseToolCalls(`<tool_call>${'{"a":'.repeat(50_000)}</tool_call>`)).toEqual([{ error: expect.any(String) }]);
  });
});

describe('toolEnvironment', () => {
  const seen: unknown[] = [];
  const tools = [
    defineTool({ name: 'add', description: 'Adds.', parameters: z.object({ a: z.number(), b: z.number() }), execute: ({ a, b }) => ({ sum: a + b }) }),
    defineTool({ name: 'throws', description: 'Throws.', parameters: z.object({}), execute: () => { throw new Error('out of order'); } }),
    defineTool({ name: 'hangs', description: 'Hangs.', parameters: z.object({}), execute: (_, { signal }) => new Promise((resolve) => signal.addEventListener('abort', () => { seen.push('told'); resolve('late'); })) }),
    defineTool({ name: 'floods', description: 'Floods.', parameters: z.object({}), execute: () => 'x'.repeat(10_000_000) }),
    defineTool({ name: 'row', description: 'Shows the row.', parameters: z.object({}), execute: (_, { row }) => row['answer'] }),
    defineTool({ name: 'cyclic', description: 'Gives what is no JSON.', parameters: z.object({}), execute: () => { const a: Record<string, unknown> = {}; a['a'] = a; return a; } }),
  ];
  const open = async (more: Partial<Parameters<typeof toolEnvironment>[0]> = {}) => {
    const environment = toolEnvironment({ tools, toolTimeout: 0.05, ...more });
    await environment.reset({ prompt: 'go', answer: 7 }, 1);
    return environment;
  };

  it.each<[string, string, string | RegExp, number]>([
    ['a call', call('add', { a: 1, b: 2 }), '{"sum":3}', 0],
    ['the row', call('row', {}), '7', 0],
    ['an unknown tool', call('mul', {}), 'error: there is no tool "mul"; there are: add, throws, hangs, floods, row, cyclic', 1],
    ['arguments of another type', call('add', { a: 'one', b: 2 }), /^error: a: .*number/, 1],
    ['missing arguments', call('add', {}), /^error: a: .*; b: /, 1],
    ['bad JSON', '<tool_call>{nonsense}</tool_call>', /^error: this is no JSON/, 1],
    ['a tool that throws', call('throws', {}), 'error: out of order', 1],
    ['a tool that hangs', call('hangs', {}), /^error: tool "hangs" took longer than 0\.05 s/, 1],
    ['a result that is no JSON', call('cyclic', {}), /^error: .*circular/i, 1],
    ['a prototype for a tool', call('constructor', {}), /^error: there is no tool "constructor"/, 1],
  ])('answers %s', async (_, content, expected, failed) => {
    const step = await (await open()).step(reply(content));
    expect(step).toMatchObject({ done: false, toolCalls: { made: 1, failed }, observation: [{ role: 'tool' }] });
    if (typeof expected === 'string') expect(step.observation![0].content).toBe(expected);
    else expect(step.observation![0].content).toMatch(expected);
  });

  it('tells a tool when its time is up, and cuts what floods', async () => {
    seen.length = 0;
    await (await open()).step(reply(call('hangs', {})));
    expect(seen).toEqual(['told']);
    const { observation } = await (await open({ maxResultLength: 10 })).step(reply(call('floods', {})));
    expect(observation![0].content).toBe(`${'x'.repeat(10)}… [9999990 more characters]`);
  });

  it('answers no more calls of one reply than it may', async () => {
    const step = await (await open({ maxCallsPerReply: 2 })).step(reply(call('row', {}).repeat(5)));
    expect(step.observation!.map(({ content }) => content)).toEqual(['7', '7', 'error: a reply may call 2 tools, this one called 5']);
    expect(step.toolCalls).toEqual({ made: 5, failed: 3 });
  });

  it('takes a reply without a call for the answer', async () => {
    const environment = await open({ reward: (answer, row) => (answer === String(row['answer']) ? 1 : 0) });
    await environment.step(reply(call('row', {})));
    expect(await environment.step(reply('7'))).toEqual({ reward: 1, done: true });
    await expect(environment.step(reply('7'))).rejects.toMatchObject({ code: 'closed' });
    expect(await (await open()).step(reply('7'))).toEqual({ reward: null, done: true });
  });

  it('heeds a signal, and refuses what is none', async () => {
    const controller = new AbortController();
    const step = (await open({ toolTimeout: 10 })).step(reply(call('hangs', {})), { signal: controller.signal });
    controller.abort();
    await expect(step).rejects.toMatchObject({ code: 'aborted' });
    expect(() => toolEnvironment({ tools: [] })).toThrow(/there are no tools/);
    expect(() => toolEnvironment({ tools: [tools[0], tools[0]] })).toThrow(/two tools are named "add"/);
    await expect(toolEnvironment({ tools }).reset({}, 1)).rejects.toThrow(/has no `prompt`/);
  });
});

describe('the calculator', () => {
  it.each([['1+2*3', 7], ['(1+2)*3', 9], ['-2 * -(3 - 5)', -4], ['7/2', 3.5], ['.5 + 0.1 + .2', 0.8], ['2--2', 4], ['0 * -1', 0], ['((((1))))', 1], ['8/2/2', 2], ['10-3-2', 5]])('%s is %d', (text, value) => expect(evaluateExpression(text)).toBe(value));
  it.each([['1+', /ends too soon/], ['(1', /bracket is not closed/], ['1 2', /"2" has no place/], ['2**3', /no place/], ['1/0', /divides by zero/], ['process.exit()', /no place/], ['9'.repeat(400), /too large/], ['('.repeat(200), /nested too deeply/], ['', /ends too soon/], ['1e999', /no place/]])('%s is refused', (text, message) => expect(() => evaluateExpression(text)).toThrow(message));
  it('agrees with JavaScript on random expressions', () => {
    let state = 1;
    const random = (n: number) => (state = Math.imul(state, 48271) >>> 0) % n;
    const expression = (depth: number): string => (depth === 0 || random(4) === 0 ? String(random(50) + 1) : random(5) === 0 ? `-(${expression(depth - 1)})` : `(${expression(depth - 1)} ${'+-*'[random(3)]} ${expression(depth - 1)})`);
    for (let i = 0; i < 300; i++) {
      const text = expression(4).replaceAll(' - -', ' - ');
      expect(evaluateExpression(text), text).toBeCloseTo(Number((0, eval)(text)), 6);
    }
  });
  it('says what it takes', () => expect(calculator().parameters).toMatchObject({ required: ['expression'] }));
});
