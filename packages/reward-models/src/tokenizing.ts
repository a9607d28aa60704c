import type { Row } from '@espalier/data';
import type { Engine } from '@espalier/engine';
import type { ChatTemplateOptions } from '@espalier/models';
import type { Message } from '@espalier/spec';

/** What rows need of a tokenizer; that of `@espalier/models` is one. */
export interface RowTokenizer {
  encode(text: string, options?: { addSpecialTokens?: boolean }): Int32Array;
  applyChatTemplate(messages: readonly Message[], options?: ChatTemplateOptions): string;
  readonly bosTokenId?: number | null;
  readonly eosTokenId?: number | null;
  readonly padTokenId?: number | null;
}

/** The tokenizer of an engine as rows need it, and how long a sequence may be: no longer than the model can see, whatever `maxLength` says. */
export function tokenizing({ info, tokenizer }: Engine, maxLength: number | null): { tokenizer: RowTokenizer; maxLength: number } {
  const { eosTokenIds, maxPositions, config } = info;
  const eosTokenId = tokenizer.eosTokenId ?? eosTokenIds[0] ?? null;
  return {
    tokenizer: {
      encode: (text, how) => tokenizer.encode(text, how),
      applyChatTemplate: (messages, how) => tokenizer.applyChatTemplate(messages, how),
      bosTokenId: tokenizer.bosTokenId ?? null,
      eosTokenId,
      padTokenId: tokenizer.padTokenId ?? tokenizer.eosTokenId ?? config.padTokenId ?? eosTokenId,
    },
    maxLength: Math.min(maxLength ?? maxPositions, maxPositions),
  };
}

/**
 * Where the score of a sequence is read: at the last token that is not the padding token, as `transformers` does for sequence classification. Where
 * end-of-sequence and padding are one token, as TRL has it for tokenizers without a padding token, that is the token before the end.
 */
export function scoredPosition(tokens: Int32Array, padTokenId: number | null | undefined): number {
  let last = tokens.length - 1;
  while (last > 0 && tokens[last] === padTokenId) last--;
  return tokens[last] === padTokenId ? 0 : last;
}

/** A text or a conversation as the reward model sees it. Plain text gets the end-of-sequence token if it lacks one and `ended` is not false; a template writes its own. */
export function encodeWhole(content: string | readonly Message[], tokenizer: RowTokenizer, options: { row?: Row; ended?: boolean } = {}): Int32Array {
  if (typeof content !== 'string') return tokenizer.encode(tokenizer.applyChatTemplate(content, templateOptions(options.row ?? {})), { addSpecialTokens: false });
  const tokens = tokenizer.encode(content);
  return options.ended === false ? tokens : withEos(tokens, tokenizer);
}

/** TRL's columns `tools` and `chat_template_kwargs`. */
function templateOptions(row: Row): ChatTemplateOptions {
  const tools = typeof row.tools === 'string' ? (JSON.parse(row.tools) as ChatTemplateOptions['tools']) : (row.tools as ChatTemplateOptions['tools']);
  const variables = row.chat_template_kwargs as ChatTemplateOptions['variables'];
  return { ...(tools ? { tools } : {}), ...(variables ? { variables } : {}) };
}

function withEos(tokens: Int32Array, { eosTokenId }: RowTokenizer): Int32Array {
  if (eosTokenId === undefined || eosTokenId === null || tokens[tokens.length - 1] === eosTokenId) return tokens;
  return Int32Array.from([...tokens, eosTokenId]);
}
