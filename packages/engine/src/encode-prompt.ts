import { EspalierError, type Message } from '@espalier/spec';

export type PromptText = string | readonly Message[];

/** What turns a prompt into token ids: the part of a tokenizer that the loops need. */
export interface PromptEncoder {
  encode(text: string, options?: { addSpecialTokens?: boolean }): Int32Array;
  applyChatTemplate(messages: readonly Message[], options?: { addGenerationPrompt?: boolean }): string;
}

/**
 * Token ids of a prompt: plain text with the tokenizer's own special tokens (a beginning-of-sequence token where the model has one), messages through the
 * chat template, which writes its own, up to where the assistant begins. A prompt that ends with an assistant's message would be continued instead of
 * answered: that is refused.
 * @param where names the prompt in messages
 * @throws EspalierError `bad_data` when nothing comes out, or the last message is the assistant's
 */
export function encodePrompt(tokenizer: PromptEncoder, prompt: PromptText, where = 'prompt'): Int32Array {
  if (typeof prompt !== 'string' && prompt.at(-1)?.role === 'assistant') throw new EspalierError('bad_data', `${where}: the last message of \`prompt\` is the assistant's`, { fix: 'end with a user message' });
  const tokens = typeof prompt === 'string' ? tokenizer.encode(prompt) : tokenizer.encode(tokenizer.applyChatTemplate(prompt, { addGenerationPrompt: true }), { addSpecialTokens: false });
  if (tokens.length === 0) throw new EspalierError('bad_data', `${where}: \`prompt\` has no tokens`, { fix: 'a prompt of at least one token' });
  return tokens;
}

/** A prompt as one text, for logs and turns: messages one under another. */
export function promptText(prompt: PromptText): string {
  return typeof prompt === 'string' ? prompt : prompt.map(({ content }) => content).join('\n');
}
