import { EspalierError, type Message } from '@espalier/spec';

export type Row = Record<string, unknown>;
export type PromptText = string | readonly Message[];

/** What turns a prompt into token ids: the part of a tokenizer that the loops need. */
export interface PromptEncoder {
  encode(text: string, options?: { addSpecialTokens?: boolean }): Int32Array;
  applyChatTemplate(messages: readonly Message[], options?: { addGenerationPrompt?: boolean }): string;
}

/** A prompt as the policy sees it, with the row it came from. */
export interface EncodedPrompt {
  row: Row;
  prompt: PromptText;
  tokens: Int32Array;
}

/**
 * The token ids of a prompt: text as it is (special tokens that the tokenizer adds included), messages through the chat template with the opening
 * of the assistant's turn. `prompt` ending with an assistant's message is continued instead of answered: that is not supported and refused.
 * @throws EspalierError `bad_data`
 */
export function encodePrompt(tokenizer: PromptEncoder, prompt: PromptText, where = 'prompt'): Int32Array {
  if (typeof prompt !== 'string' && prompt.at(-1)?.role === 'assistant') throw new EspalierError('bad_data', `${where}: the last message of \`prompt\` is the assistant's`, { fix: 'end with a user message' });
  const tokens = typeof prompt === 'string' ? tokenizer.encode(prompt) : tokenizer.encode(tokenizer.applyChatTemplate(prompt, { addGenerationPrompt: true }), { addSpecialTokens: false });
  if (tokens.length === 0) throw new EspalierError('bad_data', `${where}: \`prompt\` has no tokens`, { fix: 'a prompt of at least one token' });
  return tokens;
}
