import { toPrompt, type Row, type RowOrigin } from '@espalier/data';
import type { Message } from '@espalier/spec';

/** How questions are put to a model: as messages through its chat template, or as labelled plain text, for a model that was only pre-trained. */
export type PromptFormat = 'chat' | 'plain';

export type Prompt = string | readonly Message[];

/** A turn with the label it has in plain text. */
export interface Turn {
  role: string;
  label: string;
  content: string;
}

export const human = (content: string, label = 'Human'): Turn => ({ role: 'user', label, content });
export const assistant = (content: string, label = 'Assistant'): Turn => ({ role: 'assistant', label, content });

const labels: Partial<Record<string, string>> = { user: 'Human', assistant: 'Assistant', system: 'System' };

/** A row's prompt as turns; plain text is what the human said. */
export function promptTurns(prompt: Prompt): Turn[] {
  if (typeof prompt === 'string') return [human(prompt)];
  return prompt.map(({ role, content }) => ({ role, label: labels[role] ?? role, content }));
}

/** A conversation as one text: `Human: …`, `Assistant: …`. */
export function conversationText(turns: readonly Turn[]): string {
  return turns.map(({ label, content }) => `${label}: ${content}`).join('\n\n');
}

/**
 * Turns as a prompt that the assistant answers.
 * @param next label of the answer in plain text
 */
export function renderTurns(turns: readonly Turn[], format: PromptFormat, next = 'Assistant'): Prompt {
  if (format === 'plain') return `${conversationText(turns)}\n\n${next}:`;
  return joined(turns).map(({ role, content }) => ({ role, content }));
}

/** What ends an answer in plain text: the beginning of another turn. */
export const plainStops: readonly string[] = ['\n\nHuman:', '\n\nAssistant:', '\n\nCritique Request:', '\n\nRevision Request:', '\n\nCritique:', '\n\nRevision:'];

/** Chat templates want the roles to alternate: two turns of one role become one. */
function joined(turns: readonly Turn[]): Turn[] {
  const result: Turn[] = [];
  for (const turn of turns) {
    const last = result.at(-1);
    if (last && last.role === turn.role) result[result.length - 1] = { ...last, content: `${last.content}\n\n${turn.content}` };
    else result.push(turn);
  }
  return result;
}

/** An answer as a row's column: text beside a plain prompt, one message beside messages. */
export function completionColumn(prompt: Prompt, answer: string): string | Message[] {
  return typeof prompt === 'string' ? answer : [{ role: 'assistant', content: answer }];
}

/** The text of a row's column that is text or messages. */
export function columnText(value: unknown): string {
  return typeof value === 'string' ? value : Array.isArray(value) ? (value as Message[]).map(({ content }) => content).join('\n') : '';
}

/** Prompts of rows, as {@link toPrompt} finds them. */
export function rowPrompt(row: Row, origin?: RowOrigin): Prompt {
  return toPrompt(row, origin);
}
