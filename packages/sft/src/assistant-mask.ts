import { EspalierError, type Message } from '@espalier/spec';
import type { RowTokenizer, TemplateOptions } from './row-tokenizer';

type Span = readonly [start: number, end: number];

/** Tokens of a conversation, and which of them the assistant writes. */
export interface AssistantTokens {
  tokens: Int32Array; // [L]
  /** 1: the assistant's, its end-of-turn token included where the template attributes it to the turn. */
  mask: Uint8Array; // [L]
}

/**
 * Renders a conversation and marks the tokens that the assistant writes: those between the template's `{% generation %}` markers, or, in a template without
 * them, what each assistant message adds to the rendering of the messages before it.
 *
 * @throws EspalierError `unsupported` for a template without markers that writes earlier messages differently once others follow
 */
export function assistantTokens(messages: readonly Message[], tokenizer: RowTokenizer, options: TemplateOptions = {}): AssistantTokens {
  const { text, spans } = tokenizer.chatTemplate?.hasGenerationMarkers ? tokenizer.chatTemplate.renderMarked(messages, options) : renderedSpans(messages, tokenizer, options);
  const tokens = tokenizer.encode(text, { addSpecialTokens: false });
  return { tokens, mask: maskSpans(tokens, text, spans, tokenizer) };
}

/** What each assistant message adds to the text. */
function renderedSpans(messages: readonly Message[], tokenizer: RowTokenizer, options: TemplateOptions): { text: string; spans: Span[] } {
  const text = tokenizer.applyChatTemplate(messages, options);
  const spans = messages.flatMap(({ role }, i): Span[] => {
    if (role !== 'assistant') return [];
    const before = i === 0 ? '' : tokenizer.applyChatTemplate(messages.slice(0, i), { ...options, addGenerationPrompt: true });
    const after = i === messages.length - 1 ? text : tokenizer.applyChatTemplate(messages.slice(0, i + 1), options);
    if (!text.startsWith(after) || !after.startsWith(before)) {
      throw new EspalierError('unsupported', '`assistant_only_loss`: the chat template writes a message differently once others follow, and has no `{% generation %}` markers to say which text is the assistant\'s', {
        fix: 'add `{% generation %}` … `{% endgeneration %}` around what the assistant writes in chat_template.jinja, or leave `assistant_only_loss` out',
      });
    }
    return [[before.length, after.length]];
  });
  return { text, spans };
}

/** 1 for every token that holds a character of a span. */
function maskSpans(tokens: Int32Array, text: string, spans: readonly Span[], tokenizer: RowTokenizer): Uint8Array {
  const mask = new Uint8Array(tokens.length);
  const ends = tokenEnds(tokens, text, tokenizer);
  for (const [start, end] of spans) {
    if (ends) tokens.forEach((_, t) => (mask[t] ||= ends[t] > start && (t === 0 ? 0 : ends[t - 1]) < end ? 1 : 0));
    else mask.fill(1, sharedLength(tokens, text.slice(0, start), tokenizer), sharedLength(tokens, text.slice(0, end), tokenizer));
  }
  return mask;
}

/** How many tokens the text alone has in common with all of them. */
function sharedLength(tokens: Int32Array, text: string, tokenizer: RowTokenizer): number {
  const part = tokenizer.encode(text, { addSpecialTokens: false });
  let length = 0;
  while (length < Math.min(part.length, tokens.length) && part[length] === tokens[length]) length++;
  return length;
}

/** Tokens that are decoded together at most: a character has no more pieces than it has bytes, a joined emoji a few. */
const mostPieces = 16;

/**
 * Where each token ends in the text, in characters; a token that ends inside a character ends after it, the ones before it too. Null where decoding the tokens
 * does not give the text back (a tokenizer that normalises).
 */
export function tokenEnds(tokens: Int32Array, text: string, tokenizer: Pick<RowTokenizer, 'decode'>): Int32Array | null {
  const { decode } = tokenizer;
  if (!decode) return null;
  const ends = new Int32Array(tokens.length);
  let from = 0; // first token that is not placed
  let at = 0; // where it begins in the text
  for (let t = 0; t < tokens.length; t++) {
    const piece = decode.call(tokenizer, tokens.subarray(from, t + 1));
    const skipped = text.startsWith(piece, at) ? 0 : text.charAt(at).trim() === '' && text.startsWith(piece, at + 1) ? 1 : -1; // a decoder may eat the space before a word
    if (skipped < 0 || piece.includes('\ufffd')) {
      if (t - from + 1 >= mostPieces) return null;
      continue;
    }
    at += skipped + piece.length;
    ends.fill(at, from, t + 1);
    from = t + 1;
  }
  return from === tokens.length && at === text.length ? ends : null;
}

/**
 * Whether the end of the assistant's turn is trained on (TRL: `is_chat_template_stop_token_trained`): the last token of an assistant's turn that counts, white
 * space apart, must be a special one. Otherwise the model never learns to stop.
 *
 * @param assistantOnly of the tokens that {@link assistantTokens} marks in a conversation that goes on; otherwise of all tokens of one that the assistant ends
 */
export function isStopTokenTrained(tokenizer: RowTokenizer, assistantOnly = true): boolean {
  const messages = ['user', 'assistant', 'user'].map((role) => ({ role, content: 'dummy' }));
  const { tokens, mask } = assistantOnly ? assistantTokens(messages, tokenizer) : { tokens: tokenizer.encode(tokenizer.applyChatTemplate(messages.slice(0, 2)), { addSpecialTokens: false }), mask: null };
  for (let t = tokens.length - 1; t >= 0; t--) {
    if ((mask && !mask[t]) || (tokenizer.decode && tokenizer.decode(tokens.subarray(t, t + 1)).trim() === '')) continue;
    return tokens[t] === tokenizer.eosTokenId || (tokenizer.specialTokenIds?.has(tokens[t]) ?? false);
  }
  return false;
}
