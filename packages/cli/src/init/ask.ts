import type { Readable, Writable } from 'node:stream';
import { cancel, intro, isCancel, multiselect, select, text } from '@clack/prompts';
import { rewardNames } from '@espalier/rewards';
import { kindHelp, kinds, onRewards, type Answers } from './templates';

/** Where questions and answers go; the terminal by default. */
export interface Terminal {
  input?: Readable;
  output?: Writable;
}

/** Rewards that need no option of their own. */
const offered = rewardNames.filter((name) => !['length', 'cosine', 'format', 'accuracy', 'words', 'remote', 'factuality'].includes(name));

/**
 * Asks for what was not given.
 * @param defaults what stands there when the question comes up
 * @returns null when the user cancelled
 */
export async function askForConfig(given: Partial<Answers>, defaults: (kind: Answers['kind']) => Omit<Answers, 'kind' | 'model' | 'dataset'>, terminal: Terminal = {}): Promise<Answers | null> {
  const cancelled = (): null => {
    cancel('Nothing was written.', terminal);
    return null;
  };
  intro('A configuration for Espalier', terminal);
  const kind = given.kind ?? (await select({ message: 'What shall it do?', options: kinds.map((value) => ({ value, label: value, hint: kindHelp[value] })), ...terminal }));
  if (isCancel(kind)) return cancelled();
  const filled = (what: string) => (typed: string | undefined) => (typed?.trim() ? undefined : `${what} is needed`);
  const model = given.model ?? (await text({ message: 'Which model?', placeholder: 'a folder, a .gguf file, or a hub id', validate: filled('a model'), ...terminal }));
  if (isCancel(model)) return cancelled();
  const dataset = given.dataset ?? (await text({ message: 'Which rows?', placeholder: 'train.jsonl, owner/dataset, or arithmetic', validate: filled('rows'), ...terminal }));
  if (isCancel(dataset)) return cancelled();
  const otherwise = defaults(kind);
  const reward = given.reward ?? (onRewards(kind) ? await multiselect({ message: 'Which rewards?', options: offered.map((value) => ({ value, label: value })), initialValues: [...otherwise.reward], required: true, ...terminal }) : []);
  if (isCancel(reward)) return cancelled();
  const steps = given.maxSteps ?? (await text({ message: 'How many optimiser steps?', initialValue: String(otherwise.maxSteps), validate: (typed) => (/^[1-9]\d*$/.test(typed ?? '') ? undefined : 'a whole number from 1 on'), ...terminal }));
  if (isCancel(steps)) return cancelled();
  const outputDir = given.outputDir ?? (await text({ message: 'Where does the run go?', initialValue: otherwise.outputDir, validate: filled('a folder'), ...terminal }));
  if (isCancel(outputDir)) return cancelled();
  return { kind, model: model.trim(), dataset: dataset.trim(), reward, maxSteps: Number(steps), outputDir: outputDir.trim() };
}
