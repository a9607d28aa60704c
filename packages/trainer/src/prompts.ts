import { describeOrigin, toPrompt, type Dataset, type Row } from '@espalier/data';
import { encodePrompt, type PromptEncoder, type PromptText } from '@espalier/engine/local';
import { EspalierError } from '@espalier/spec';

/** A prompt as the policy sees it, with the row it came from. */
export interface EncodedPrompt {
  row: Row;
  prompt: PromptText;
  tokens: Int32Array;
}

/** A row to act on: with its prompt, or in an environment that makes one of it. */
export type TaskPrompt = Pick<EncodedPrompt, 'row'> & Partial<EncodedPrompt>;

/** Prompts by row number. A procedural task may have no end. */
export interface PromptSource<Prompt extends TaskPrompt = EncodedPrompt> {
  size: number;
  /** @throws EspalierError `bad_data` naming the row's file and line */
  at(index: number): Prompt;
}

/** The rows of a dataset for an environment, which asks of them what it will. */
export function taskSource(dataset: Dataset): PromptSource<TaskPrompt> {
  return { size: dataset.size, at: (index) => ({ row: dataset.row(index) }) };
}

/**
 * The prompts of a dataset, encoded as they are asked for.
 * @param options.maxTokens a longer prompt is refused: it would leave no room for the completion
 */
export function promptSource(dataset: Dataset, tokenizer: PromptEncoder, options: { maxTokens?: number } = {}): PromptSource {
  return {
    size: dataset.size,
    at(index) {
      const row = dataset.row(index);
      const where = describeRow(dataset, index);
      const prompt = toPrompt(row, dataset.origin(index));
      const tokens = encodePrompt(tokenizer, prompt, where);
      if (options.maxTokens !== undefined && tokens.length > options.maxTokens) {
        throw new EspalierError('bad_data', `${where}: \`prompt\` has ${tokens.length} tokens, and the model's positions leave room for ${Math.max(0, options.maxTokens)} beside the completion`, { fix: 'a shorter prompt, or a smaller `max_completion_length`' });
      }
      return { row, prompt, tokens };
    },
  };
}

/** `train.jsonl:12`, or `row 11 of arithmetic`. */
export function describeRow(dataset: Dataset, index: number): string {
  const origin = dataset.origin(index);
  return origin.file === undefined ? `row ${index} of ${dataset.name}` : describeOrigin(origin);
}

/** All prompts of a source that has an end. */
export function allPrompts<Prompt extends TaskPrompt>(source: PromptSource<Prompt>): Prompt[] {
  if (!Number.isFinite(source.size)) throw new EspalierError('bad_config', 'the evaluation rows have no end', { fix: 'give the task a `size`' });
  return Array.from({ length: source.size }, (_, i) => source.at(i));
}

export { encodePrompt };
export type { PromptEncoder, PromptText, Row };
