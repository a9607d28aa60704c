import { describeOrigin, toPrompt, type Row, type RowOrigin } from '@espalier/data';
import { EspalierError, type Message } from '@espalier/spec';
import { promptAndCompletion, type Solution, type SolutionTokenizer } from '../precision/solutions';

export interface ControlRowOptions {
  /** Column to answer with. Default: `completion`, else `answer`; of rows with `text` the text itself. */
  column?: string;
  /** Tokens of an example, at most; longer texts are cut into several. */
  maxLength: number;
}

/**
 * A row as cross-entropy trains on it: a text in pieces of `maxLength` tokens, every token of them; or the answer to a prompt. Solutions that are marked wrong are left out.
 * @throws EspalierError `bad_data` for a row with nothing to learn
 */
export function controlExamples(row: Row, origin: RowOrigin, tokenizer: SolutionTokenizer, options: ControlRowOptions): Solution[] {
  if (row.correct === false || (row.correct === undefined && row.label === false)) return [];
  const { column, maxLength } = options;
  if (column === undefined && typeof row.text === 'string' && row.prompt === undefined) return pieces(tokenizer.encode(row.text, { addSpecialTokens: false }), maxLength);
  const prompt = toPrompt(row, origin);
  const answer = answerOf(row, column);
  if (answer === null) {
    const columns = Object.keys(row).map((name) => `\`${name}\``).join(', ');
    throw new EspalierError('bad_data', `${describeOrigin(origin)}: the control has nothing to learn: there is no ${column === undefined ? '`completion` or `answer`' : `\`${column}\``} beside \`prompt\``, { fix: `\`control_column\`; the row has ${columns}` });
  }
  const conversational = typeof prompt !== 'string';
  const tokens = promptAndCompletion(prompt, conversational && typeof answer === 'string' ? [{ role: 'assistant', content: answer }] : answer, conversational, tokenizer);
  if (tokens.prompt.length === 0 || tokens.completion.length === 0 || tokens.completion.length >= maxLength) return [];
  return [{ prompt: tokens.prompt.slice(Math.max(0, tokens.prompt.length + tokens.completion.length - maxLength)), completion: tokens.completion, correct: true, trained: true }];
}

function answerOf(row: Row, column: string | undefined): string | Message[] | null {
  for (const name of column === undefined ? ['completion', 'answer'] : [column]) {
    const value = row[name];
    if (typeof value === 'string' || Array.isArray(value)) return value as string | Message[];
    if (typeof value === 'number') return String(value);
  }
  return null;
}

function pieces(ids: Int32Array, maxLength: number): Solution[] {
  const list: Solution[] = [];
  for (let start = 0; start + 1 < ids.length; start += maxLength) {
    const piece = ids.slice(start, start + maxLength);
    if (piece.length > 1) list.push({ prompt: piece.slice(0, 1), completion: piece.slice(1), correct: true, trained: true });
  }
  return list;
}
