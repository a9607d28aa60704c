export * from './cpo-loss';
export * from './dpo-loss';
export * from './kto-loss';
export * from './orpo-loss';
export type { CompletionNumbers } from './completions';
