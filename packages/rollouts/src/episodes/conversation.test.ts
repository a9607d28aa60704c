import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { openCheckpoint, Tokenizer } from '@espalier/models';
import type { Message } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { Conversation } from './conversation';
import { ends, templates, tokenizerOf } from './test-support';

const fixture = (name: string) => Tokenizer.fromFolder(fileURLToPath(new URL(`../../../models/fixtures/${name}`, import.meta.url)));
const smollm2 = fileURLToPath(new URL('../../../../.cache/models/SmolLM2-135M-Instruct.Q4_1.gguf', import.meta.url));
const encode = (tokenizer: Tokenizer, text: string) => tokenizer.encode(text, { addSpecialTokens: false });
const user = (content: string): Message => ({ role: 'user', content });
const assistant = (content: string): Message => ({ role: 'assistant', content });

/** Replies as a model might write them, one of them not as its tokenizer would. */
const said = ['50', 'Hm, 7 + 8?\nI say 25.', 'über 37 🙂'];
const heard = ['Higher.', 'Lower, and  not by much.\n', '<b>no</b> — the end'];

/** The ids of a whole conversation, turn by turn. */
function play(tokenizer: Tokenizer, replies: readonly Int32Array[], first: readonly Message[] = [user('Guess a number.')], role = 'user'): { ids: Int32Array; prompts: Int32Array[] } {
  const conversation = new Conversation(tokenizer);
  const history = [...first];
  let ids = conversation.begin(first);
  const prompts = [ids];
  replies.forEach((reply, t) => {
    const observation = [{ role, content: heard[t] }];
    const bridge = conversation.observe(history, reply, observation);
    history.push(assistant(tokenizer.decode(reply, { skipSpecialTokens: true })), ...observation);
    ids = Int32Array.of(...ids, ...reply, ...bridge);
    prompts.push(ids);
  });
  return { ids, prompts };
}

const families = Object.keys(templates) as (keyof typeof templates)[];

describe('token-in, token-out', () => {
  it.each(families)('%s: a conversation turn by turn has the ids of the conversation as a whole', (name) => {
    const tokenizer = tokenizerOf(name);
    const replies = said.map((text) => encode(tokenizer, (name === 'instruct' ? ' ' : '') + text + (name === 'instruct' ? ' ' : '') + ends[name]));
    const { ids } = play(tokenizer, replies);
    const whole = [user('Guess a number.'), ...said.flatMap((text, t) => [assistant(text), user(heard[t])])];
    expect(tokenizer.decode(ids)).toBe(tokenizer.applyChatTemplate(whole, { addGenerationPrompt: true }));
    expect([...ids]).toEqual([...encode(tokenizer, tokenizer.applyChatTemplate(whole, { addGenerationPrompt: true }))]);
  });

  // Real vocabularies: byte-level BPE with merges, and a SentencePiece one that marks spaces.
  it.each(['smollm2', 'llama', 'qwen2', 'qwen3', 'mistral', 'llama3-rope', 'gpt2'])('the tokenizer of fixture %s: what was sampled stays as it was, though it is not how the text would be tokenised', (name) => {
    const tokenizer = fixture(name);
    const end = tokenizer.tokenToId('<|im_end|>') ?? tokenizer.eosTokenId!;
    // Every character by itself: hardly ever what the tokenizer would make of the whole.
    const replies = ['hello there', 'one more', 'done'].map((text) => Int32Array.of(...[...text].flatMap((c) => [...encode(tokenizer, c)]), end));
    const { prompts } = play(tokenizer, replies);
    replies.forEach((reply, t) => {
      expect([...prompts[t + 1].subarray(0, prompts[t].length)]).toEqual([...prompts[t]]);
      expect([...prompts[t + 1].subarray(prompts[t].length, prompts[t].length + reply.length)]).toEqual([...reply]);
      expect(tokenizer.decode(prompts[t + 1].subarray(prompts[t].length + reply.length))).toContain(heard[t].trim());
    });
    // And where they are how the tokenizer writes them, the whole is too.
    const canonical = play(tokenizer, said.slice(0, 2).map((text) => Int32Array.of(...encode(tokenizer, text), end))).ids;
    const whole = [user('Guess a number.'), ...said.slice(0, 2).flatMap((text, t) => [assistant(text), user(heard[t])])];
    if (tokenizer.tokenToId('<|im_end|>') !== undefined) expect([...canonical]).toEqual([...encode(tokenizer, tokenizer.applyChatTemplate(whole, { addGenerationPrompt: true }))]);
  });

  it.skipIf(!existsSync(smollm2))("SmolLM2's own template and vocabulary (skipped without .cache/models)", async () => {
    const { tokenizer } = await openCheckpoint(smollm2);
    const replies = said.map((text) => Int32Array.of(...encode(tokenizer, text), tokenizer.eosTokenId!));
    const { ids } = play(tokenizer, replies);
    const whole = [user('Guess a number.'), ...said.flatMap((text, t) => [assistant(text), user(heard[t])])];
    expect([...ids]).toEqual([...encode(tokenizer, tokenizer.applyChatTemplate(whole, { addGenerationPrompt: true }))]);
    expect(tokenizer.decode(ids)).toContain('You are a helpful AI assistant named SmolLM');
  });

  it.each(families)('%s: a reply that was cut off is closed for the policy', (name) => {
    const tokenizer = tokenizerOf(name);
    const { ids } = play(tokenizer, [encode(tokenizer, '5')]);
    const whole = tokenizer.applyChatTemplate([user('Guess a number.'), assistant('5'), user(heard[0])], { addGenerationPrompt: true });
    expect(tokenizer.decode(ids)).toBe(name === 'instruct' ? whole.replace(' 5 ', '5 ') : whole); // there the space before a reply is the policy's to write
  });

  it('a reply that ends with another special token than the template\'s is closed too', () => {
    const tokenizer = tokenizerOf('llama3');
    const begin = tokenizer.tokenToId('<|begin|>')!;
    const { ids } = play(tokenizer, [Int32Array.of(...encode(tokenizer, '5'), begin)]);
    expect(tokenizer.decode(ids)).toContain('5<|begin|><|eot_id|><|start_header_id|>user');
  });

  it('marks in what is said are not taken for ours', () => {
    const tokenizer = tokenizerOf('chatml');
    const conversation = new Conversation(tokenizer);
    const bridge = conversation.observe([user('a\uFDD2b')], encode(tokenizer, 'x<|im_end|>'), [user('evil \uFDD2 \uFDD3 observation')]);
    expect(tokenizer.decode(bridge)).toBe('\n<|im_start|>user\nevil \uFFFD \uFFFD observation<|im_end|>\n<|im_start|>assistant\n');
  });
});

describe('tools', () => {
  const tools = [{ name: 'look', description: 'Looks.', parameters: { type: 'object', properties: {} } }];
  const results = [{ role: 'tool', content: 'one' }, { role: 'tool', content: 'two' }];

  it('are told by a template that knows them, and in a system message otherwise', () => {
    const told = (name: keyof typeof templates, first: Message[]) => {
      const tokenizer = tokenizerOf(name);
      return tokenizer.decode(new Conversation(tokenizer, tools).begin(first));
    };
    expect(told('qwen', [user('hi')])).toMatch(/^<\|im_start\|>system\n# Tools\n<tools>\n\{"type": "function", "function": \{"name": "look".*hi/s);
    expect(told('chatml', [user('hi')])).toMatch(/^<\|im_start\|>system\nYou may call.*"name":"look".*<\|im_end\|>\n<\|im_start\|>user\nhi/s);
    expect(told('chatml', [{ role: 'system', content: 'Be kind.' }, user('hi')])).toMatch(/^<\|im_start\|>system\nBe kind\.\n\nYou may call/);
    expect(told('instruct', [user('hi')])).toMatch(/^<s>\[INST\] You may call.*\n\nhi \[\/INST\]$/s); // it has no system message
  });

  it.each([
    ['qwen', '\n<|im_start|>user\n<tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</tool_response><|im_end|>\n<|im_start|>assistant\n'],
    ['chatml', '\n<|im_start|>tool\none<|im_end|>\n<|im_start|>tool\ntwo<|im_end|>\n<|im_start|>assistant\n'],
    ['instruct', '[INST] <tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</tool_response> [/INST]'],
    ['gemma', '\n<start_of_turn>user\n<tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</tool_response><end_of_turn>\n<start_of_turn>model\n'],
  ] as const)('%s: their results are written in the role that the template has for them', (name, expected) => {
    const tokenizer = tokenizerOf(name);
    const conversation = new Conversation(tokenizer, tools);
    conversation.begin([user('hi')]);
    const reply = encode(tokenizer, `x${ends[name]}`);
    expect(tokenizer.decode(conversation.observe([user('hi')], reply, results))).toBe(expected);
    const later = [user('hi'), assistant('x'), ...results]; // results in the history are no trouble either
    expect(tokenizer.decode(conversation.observe(later, reply, results))).toBe(expected);
  });

  it('a model without a chat template is refused', () => {
    const bare = fixture('gpt2');
    const tokenizer = { ...bare, encode: bare.encode.bind(bare), applyChatTemplate: () => { throw Object.assign(new Error('the model has no chat template'), { code: 'unsupported' }); } } as unknown as Tokenizer;
    expect(() => new Conversation(tokenizer).begin([user('hi')])).toThrow(/no chat template/);
  });
});
