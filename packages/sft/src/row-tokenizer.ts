import type { Message } from '@espalier/spec';

/** What a chat template is rendered with. */
export interface TemplateOptions {
  addGenerationPrompt?: boolean;
  tools?: readonly Record<string, unknown>[];
  variables?: Readonly<Record<string, unknown>>;
}

/** What rows need of a tokenizer; that of `@espalier/models` is one. */
export interface RowTokenizer {
  encode(text: string, options?: { addSpecialTokens?: boolean }): Int32Array;
  applyChatTemplate(messages: readonly Message[], options?: TemplateOptions): string;
  readonly eosTokenId?: number | null;
  /** For `assistantOnlyLoss`: where tokens stand in the text. */
  decode?(ids: Iterable<number>): string;
  readonly specialTokenIds?: ReadonlySet<number>;
  /** A template that says what the assistant generates. */
  readonly chatTemplate?: {
    readonly hasGenerationMarkers: boolean;
    renderMarked(messages: readonly Message[], options?: TemplateOptions): { text: string; spans: [start: number, end: number][] };
  };
}
