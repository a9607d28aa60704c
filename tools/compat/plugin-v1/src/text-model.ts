import { throwIfAborted, type CompleteOptions, type Message, type OptionQuestion, type TextModel } from '@espalier/spec';

const lastOf = (prompt: string | readonly Message[]): string => (typeof prompt === 'string' ? prompt : (prompt[prompt.length - 1]?.content ?? ''));
const logpOf = (prompt: string | readonly Message[], option: string): number => -Math.abs(lastOf(prompt).length - option.length) - 1;

/** Says again what it was told last, with every option and method of the contract. */
export async function parrotModel(options: { suffix?: string } = {}): Promise<TextModel> {
  return {
    async complete(prompts, { maxNewTokens = 256, temperature = 0, seed = 0, seeds, stop = [], signal }: CompleteOptions = {}) {
      throwIfAborted(signal);
      return prompts.map((prompt, i) => {
        const text = `${lastOf(prompt)}${options.suffix ?? ''}${temperature > 0 ? ` ${seeds?.[i] ?? seed}` : ''}`.slice(0, maxNewTokens);
        const cut = Math.min(...stop.map((each) => text.indexOf(each)).filter((at) => at >= 0), text.length);
        return text.slice(0, cut);
      });
    },
    optionLogps: async (prompt, choices) => choices.map((choice) => logpOf(prompt, choice)),
    async optionLogpsAll(questions: readonly OptionQuestion[], call: { signal?: AbortSignal } = {}) {
      throwIfAborted(call.signal);
      return questions.map(({ prompt, options: choices }) => choices.map((choice) => logpOf(prompt, choice)));
    },
  };
}
