import { cancel, intro, isCancel, select, text } from '@clack/prompts';
import { isEspalierError } from '@espalier/spec';
import type { Readable, Writable } from 'node:stream';
import { kindNames, kinds, type Kind } from './kinds';
import { readPluginName } from './plugin-name';

/** Where questions and answers go; the terminal by default. */
export interface Terminal {
  input?: Readable;
  output?: Writable;
}

export interface Answers {
  name: string;
  kind: Kind;
}

/** Asks for what was not given. Null: the user cancelled. */
export async function ask(given: Partial<Answers>, terminal: Terminal = {}): Promise<Answers | null> {
  intro('A plugin for Espalier', terminal);
  const kind = given.kind ?? (await select({ message: 'What does it add?', options: kindNames.map((value) => ({ value, label: kinds[value].label, hint: kinds[value].hint })), ...terminal }));
  if (isCancel(kind)) return cancelled(terminal);
  const name = given.name ?? (await text({ message: 'What is it called?', placeholder: 'short-answers, or @me/short-answers', validate: complaint, ...terminal }));
  if (isCancel(name)) return cancelled(terminal);
  return { name, kind };
}

function cancelled(terminal: Terminal): null {
  cancel('Nothing was written.', terminal);
  return null;
}

/** What is wrong with a name; undefined: nothing. */
function complaint(typed: string | undefined): string | undefined {
  try {
    readPluginName(typed ?? '');
    return undefined;
  } catch (error) {
    return isEspalierError(error) ? error.message : String(error);
  }
}
