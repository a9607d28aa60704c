import { throwIfAborted } from '@espalier/spec';
const lastOf = (prompt) => (typeof prompt === 'string' ? prompt : (prompt[prompt.length - 1]?.content ?? ''));
const logpOf = (prompt, option) => -Math.abs(lastOf(prompt).length - option.length) - 1;
/** Says again what it was told last, with every option and method of the contract. */
export async function parrotModel(options = {}) {
    return {
        async complete(prompts, { maxNewTokens = 256, temperature = 0, seed = 0, seeds, stop = [], signal } = {}) {
            throwIfAborted(signal);
            return prompts.map((prompt, i) => {
                const text = `${lastOf(prompt)}${options.suffix ?? ''}${temperature > 0 ? ` ${seeds?.[i] ?? seed}` : ''}`.slice(0, maxNewTokens);
                const cut = Math.min(...stop.map((each) => text.indexOf(each)).filter((at) => at >= 0), text.length);
                return text.slice(0, cut);
            });
        },
        optionLogps: async (prompt, choices) => choices.map((choice) => logpOf(prompt, choice)),
        async optionLogpsAll(questions, call = {}) {
            throwIfAborted(call.signal);
            return questions.map(({ prompt, options: choices }) => choices.map((choice) => logpOf(prompt, choice)));
        },
    };
}
