import type { CompleteOptions, OptionQuestion, TextModel } from '@espalier/spec';
import { defineConstitution } from './constitution';

type PromptLike = OptionQuestion['prompt'];
export const textOf = (prompt: PromptLike): string => (typeof prompt === 'string' ? prompt : prompt.map(({ role, content }) => `${role}: ${content}`).join('\n'));

export interface Scripted extends TextModel {
  prompts: string[];
  calls: { prompts: string[]; options: CompleteOptions }[];
  asked: OptionQuestion[];
}

/** A model that answers by a script. */
export function scripted(script: { answer?: (prompt: string, seed: number) => string; logps?: (prompt: string, options: readonly string[]) => readonly number[] }): Scripted {
  const model: Scripted = {
    prompts: [],
    calls: [],
    asked: [],
    async complete(prompts, options = {}) {
      model.calls.push({ prompts: prompts.map(textOf), options });
      return prompts.map((prompt, i) => {
        const text = textOf(prompt);
        model.prompts.push(text);
        return (script.answer ?? (() => ''))(text, options.seeds?.[i] ?? 0);
      });
    },
  };
  if (script.logps) {
    model.optionLogpsAll = async (questions) =>
      questions.map((question) => {
        model.asked.push(question);
        return script.logps!(textOf(question.prompt), question.options);
      });
  }
  return model;
}

export const fivePrinciples = defineConstitution({
  name: 'five',
  licence: 'CC0-1.0',
  source: 'a test',
  principles: ['one', 'two', 'three', 'four', 'five'].map((id, i) => ({ id, critiqueRequest: `Criticise by ${id}.`, revisionRequest: `Revise by ${id}.`, preferenceQuestion: `Which is better by ${id}?`, tags: [i % 2 === 0 ? 'odd' : 'even'] })),
});
