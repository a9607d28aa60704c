import { checkRow, type Row, type RowOrigin } from '@espalier/data';
import { EspalierError, type Message, type TokenBatch } from '@espalier/spec';
import type { RowTokenizer } from './tokenizing';

/** A reasoning in steps as the learner sees it. */
export interface StepExample {
  tokens: Int32Array;
  /** The last token of each step that is scored, ascending. */
  ends: Int32Array;
  /** Of each: 1 right, 0 wrong. */
  labels: Uint8Array;
}

export interface TokenizeStepsOptions {
  stepSeparator: string;
  maxLength: number | null;
  maxCompletionLength?: number | null;
  trainOnLastStepOnly?: boolean;
  origin?: RowOrigin;
}

/**
 * Tokens of a prompt and of steps, each step with the separator after it and tokenised by itself, and where each ends: TRL's `PRMTrainer.tokenize_row`.
 * The beginning-of-sequence token comes first where the tokenizer has one; a prompt of messages goes through the chat template, which writes its own.
 */
export function encodeSteps(prompt: string | readonly Message[], steps: readonly string[], tokenizer: RowTokenizer, options: Pick<TokenizeStepsOptions, 'stepSeparator' | 'maxLength' | 'maxCompletionLength'>): { tokens: Int32Array; ends: Int32Array } {
  const plain = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
  const separator = plain(options.stepSeparator);
  const bos = typeof prompt === 'string' ? (tokenizer.bosTokenId ?? null) : null;
  const start = [...(bos === null ? [] : [bos]), ...plain(typeof prompt === 'string' ? prompt : tokenizer.applyChatTemplate(prompt, { addGenerationPrompt: true }))];
  const completion: number[] = [];
  const ends: number[] = [];
  for (const step of steps) {
    completion.push(...plain(step), ...separator);
    ends.push(completion.length - 1);
  }
  const kept = completion.slice(0, options.maxCompletionLength ?? undefined);
  const tokens = Int32Array.from([...start, ...kept].slice(0, options.maxLength ?? undefined));
  return { tokens, ends: Int32Array.from(ends.filter((end) => end < kept.length).map((end) => start.length + end).filter((end) => end < tokens.length)) }; // prettier-ignore
}

/**
 * A row of `prompt`, `completions` and `labels` (one a step) as tokens.
 * @returns null when no labelled step is left of it
 * @throws EspalierError `bad_data` that names file, line and field
 */
export function tokenizeSteps(row: Row, tokenizer: RowTokenizer, options: TokenizeStepsOptions): StepExample | null {
  checkRow(row, ['stepwise_supervision'], options.origin);
  const labels = (row.labels as boolean[]).map(Number);
  const { tokens, ends } = encodeSteps(row.prompt as string | Message[], row.completions as string[], tokenizer, options);
  const from = options.trainOnLastStepOnly ? labels.length - 1 : 0;
  const kept = ends.slice(from);
  return kept.length === 0 ? null : { tokens, ends: kept, labels: Uint8Array.from(labels.slice(from, from + kept.length)) };
}

/** Reasonings as one ragged batch: every end of a labelled step is an action. */
export function packSteps(examples: readonly StepExample[]): TokenBatch {
  if (examples.length === 0) throw new EspalierError('bad_data', 'a batch of no rows has nothing to train on', { fix: 'at least one row with a step that fits `max_length`' });
  const offsets = new Int32Array(examples.length + 1);
  examples.forEach(({ tokens }, i) => (offsets[i + 1] = offsets[i] + tokens.length));
  const tokens = new Int32Array(offsets[examples.length]);
  examples.forEach((example, i) => tokens.set(example.tokens, offsets[i]));
  const actionIndex = Int32Array.from(examples.flatMap(({ ends }, i) => Array.from(ends, (end) => offsets[i] + end)));
  return {
    tokens,
    offsets,
    actionIndex,
    columns: { labels: Float32Array.from(examples.flatMap(({ labels }) => [...labels])) },
    normalizer: { tokens: actionIndex.length, sequences: examples.length },
  };
}
