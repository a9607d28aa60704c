import { appendFile, mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { TextModel } from '@espalier/spec';

/**
 * A model whose questions and answers are appended to a JSON Lines file: time, kind, prompt, settings, answer or log-probs, seconds; an error with its message.
 * @param now for tests
 */
export function loggedModel(model: TextModel, path: string, now: () => Date = () => new Date()): TextModel {
  let queue: Promise<void> = mkdir(dirname(path), { recursive: true }).then(() => undefined);
  const write = (records: readonly object[]): Promise<void> => (queue = queue.then(() => appendFile(path, records.map((record) => `${JSON.stringify(record)}\n`).join(''))));
  const watched = async <T>(kind: string, prompts: readonly unknown[], settings: object, ask: () => Promise<T>, answerOf: (result: T, i: number) => unknown): Promise<T> => {
    const time = now();
    try {
      const result = await ask();
      const seconds = (now().getTime() - time.getTime()) / 1000;
      await write(prompts.map((prompt, i) => ({ time: time.toISOString(), kind, prompt, ...settings, answer: answerOf(result, i), seconds })));
      return result;
    } catch (error) {
      await write([{ time: time.toISOString(), kind, prompts: prompts.length, ...settings, error: (error as Error).message }]);
      throw error;
    }
  };
  const logged: TextModel = {
    complete: (prompts, options = {}) => {
      const { signal: _signal, ...settings } = options;
      return watched('complete', prompts, settings, () => model.complete(prompts, options), (texts, i) => texts[i]);
    },
  };
  if (model.optionLogps) logged.optionLogps = (prompt, options) => watched('options', [prompt], { options }, () => model.optionLogps!(prompt, options), (logps) => logps);
  if (model.optionLogpsAll) logged.optionLogpsAll = (questions, how) => watched('options', questions, {}, () => model.optionLogpsAll!(questions, how), (logps, i) => logps[i]);
  return logged;
}
