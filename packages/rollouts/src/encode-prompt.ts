import { EspalierError, type Message } from '@espalier/spec';
import type { Tokenizer } from '@espalier/models';

/**
 * Token ids of a prompt: plain text with the tokenizer's own special tokens (a beginning-of-sequence token where the model has one), messages through the
 * chat template, which writes its own, up to where the assistant begins.
 * @throws EspalierError `bad_data` when nothing comes out
 */
export function encodePrompt(tokenizer: Tokenizer, prompt: string | readonly Message[]): Int32Array {
  const tokens =
    typeof prompt === 'string' ? tokenizer.encode(prompt) : tokenizer.encode(tokenizer.applyChatTemplate(prompt, { addGenerationPrompt: true }), { addSpecialTokens: false });
  if (tokens.length === 0) throw new EspalierError('bad_data', 'the prompt is empty', { fix: 'give at least one character, or messages' });
  return tokens;
}

/** A prompt as one text, for logs and turns: messages one under another. */
export function promptText(prompt: string | readonly Message[]): string {
  return typeof prompt === 'string' ? prompt : prompt.map(({ content }) => content).join('\n');
}
