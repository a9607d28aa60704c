import { checkRow, describeOrigin, type Row, type RowOrigin } from '@espalier/data';
import { EspalierError, type Message, type TokenBatch } from '@espalier/spec';

/** What solutions need of a tokenizer. */
export interface SolutionTokenizer {
  encode(text: string, options?: { addSpecialTokens?: boolean }): Int32Array;
  applyChatTemplate(messages: readonly Message[], options?: { addGenerationPrompt?: boolean }): string;
  readonly eosTokenId?: number | null;
}

/** A solution as the loss takes it. */
export interface Solution {
  prompt: Int32Array;
  completion: Int32Array;
  correct: boolean;
  /** Whether its tokens are trained on; one that is wrong may be there for the value head alone. */
  trained: boolean;
}

export interface SolutionOptions {
  /** Longest prompt and solution together, in tokens. */
  maxLength: number;
  /** Write into the prompt whether the solution is correct; null: do not, and train on correct ones alone. */
  valueTemplate: string | null;
  /** Keep wrong solutions that are not trained on, for the value head. Default false. */
  keepWrong?: boolean;
  origin?: RowOrigin;
}

/** AlphaCode's words for what a solution is, as they are written into the prompt. */
const valueWords = { true: 'CORRECT', false: 'INCORRECT' } as const;

/**
 * A prompt that says what the solution to it is (2203.07814, §4.3): in training as it was, in sampling always the correct one. Of messages the last one of the user
 * says it.
 * @example
 * conditionedPrompt('Add two numbers.', true); // 'CORRECT solution.\nAdd two numbers.'
 */
export function conditionedPrompt<Prompt extends string | readonly Message[]>(prompt: Prompt, correct: boolean, template = '{value} solution.\n{prompt}'): Prompt {
  if (!template.includes('{value}') || !template.includes('{prompt}')) throw new EspalierError('bad_config', '`value_template` does not contain {value} and {prompt}');
  const fill = (text: string) => template.replace(/\{(value|prompt)\}/g, (_, name: string) => (name === 'value' ? valueWords[`${correct}`] : text));
  if (typeof prompt === 'string') return fill(prompt) as Prompt;
  const at = prompt.findLastIndex(({ role }) => role === 'user');
  if (at < 0) throw new EspalierError('bad_data', 'a prompt of messages has none of the user that could say whether the solution is correct');
  return prompt.map((message, i) => (i === at ? { ...message, content: fill(message.content) } : message)) as unknown as Prompt;
}

/**
 * A row `{ prompt, completion, correct }` (or `label`) in tokens; null when nothing of it is trained on.
 * @throws EspalierError `bad_data` that names file, line and field
 */
export function solutionOf(row: Row, tokenizer: SolutionTokenizer, options: SolutionOptions): Solution | null {
  const where = describeOrigin(options.origin);
  const { conversational } = checkRow({ prompt: row.prompt, completion: row.completion }, ['prompt_completion'], options.origin);
  const correct = row.correct ?? row.label;
  if (typeof correct !== 'boolean') throw new EspalierError('bad_data', `${where}: \`correct\`: must be true or false, ${correct === undefined ? 'it is missing' : `found ${JSON.stringify(correct)}`}`, { fix: 'a row has `prompt`, `completion` and `correct`' });
  const trained = options.valueTemplate !== null || correct;
  if (!trained && !options.keepWrong) return null;
  const given = row.prompt as string | Message[];
  const { prompt, completion } = promptAndCompletion(options.valueTemplate === null ? given : conditionedPrompt(given, correct, options.valueTemplate), row.completion as string | Message[], conversational, tokenizer);
  if (prompt.length === 0) throw new EspalierError('bad_data', `${where}: \`prompt\` has no tokens`, { fix: 'a prompt of at least one token' });
  if (completion.length === 0 || completion.length >= options.maxLength) return null;
  return { prompt: prompt.slice(Math.max(0, prompt.length + completion.length - options.maxLength)), completion, correct, trained };
}

/** The completion begins where the tokens of the prompt alone and of both part. */
export function promptAndCompletion(prompt: string | readonly Message[], completion: string | readonly Message[], conversational: boolean, tokenizer: SolutionTokenizer): { prompt: Int32Array; completion: Int32Array } {
  let alone: Int32Array;
  let whole: Int32Array;
  if (conversational) {
    const messages = prompt as readonly Message[];
    alone = tokenizer.encode(tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true }), { addSpecialTokens: false });
    whole = tokenizer.encode(tokenizer.applyChatTemplate([...messages, ...(completion as readonly Message[])]), { addSpecialTokens: false });
  } else {
    alone = tokenizer.encode(prompt as string);
    whole = tokenizer.encode(`${prompt as string}${completion as string}`);
    const { eosTokenId } = tokenizer;
    if (eosTokenId !== undefined && eosTokenId !== null && whole.at(-1) !== eosTokenId) whole = Int32Array.of(...whole, eosTokenId);
  }
  let same = 0;
  while (same < Math.min(alone.length, whole.length) && alone[same] === whole[same]) same++;
  return { prompt: whole.slice(0, same), completion: whole.slice(same) };
}

/** Solutions as a batch: every token of a completion is an action, with the columns of `precisionObjective`. */
export function packSolutions(solutions: readonly Solution[]): TokenBatch {
  const tokens: number[] = [];
  const offsets = [0];
  const actionIndex: number[] = [];
  const trained: number[] = [];
  const correct: number[] = [];
  for (const solution of solutions) {
    tokens.push(...solution.prompt, ...solution.completion);
    for (let t = tokens.length - solution.completion.length; t < tokens.length; t++) {
      actionIndex.push(t);
      trained.push(Number(solution.trained));
      correct.push(Number(solution.correct));
    }
    offsets.push(tokens.length);
  }
  return {
    tokens: Int32Array.from(tokens),
    offsets: Int32Array.from(offsets),
    actionIndex: Int32Array.from(actionIndex),
    columns: { trained: Float32Array.from(trained), correct: Float32Array.from(correct) },
    normalizer: { tokens: trained.reduce((a, b) => a + b, 0), sequences: solutions.length },
  };
}
