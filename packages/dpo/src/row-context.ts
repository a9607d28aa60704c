import type { Policy } from '@espalier/trainer';
import type { RowTokenizer } from './rows';

/** The tokenizer of a policy as rows need it, and how long a sequence may be: no longer than the model can see, whatever `maxLength` says. */
export function rowContext({ engine }: Policy, maxLength: number | null): { tokenizer: RowTokenizer; maxLength: number } {
  const { eosTokenIds, maxPositions } = engine.info;
  const { tokenizer } = engine;
  return {
    tokenizer: {
      encode: (text, how) => tokenizer.encode(text, how),
      applyChatTemplate: (messages, how) => tokenizer.applyChatTemplate(messages, how),
      bosTokenId: tokenizer.bosTokenId ?? null,
      eosTokenId: tokenizer.eosTokenId ?? eosTokenIds[0] ?? null,
    },
    maxLength: Math.min(maxLength ?? maxPositions, maxPositions),
  };
}
