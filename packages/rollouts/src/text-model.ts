import { encodePrompt } from '@espalier/engine/local';
import { EspalierError, throwIfAborted, upToSentence, type OptionQuestion, type RolloutEngine, type TextModel } from '@espalier/spec';
import type { Tokenizer } from '@espalier/models';

/**
 * A rollout engine as a model from text to text: what judges and critics are prompts over. `optionLogps` is there when the engine scores.
 * @example
 * const model = textModel(localRolloutEngine(engine), engine.tokenizer);
 * const [answer] = await model.complete([[{ role: 'user', content: 'Name a tree.' }]], { maxNewTokens: 20, temperature: 0 });
 */
export function textModel(engine: RolloutEngine, tokenizer: Pick<Tokenizer, 'encode' | 'applyChatTemplate'>): TextModel {
  const model: TextModel = {
    async complete(prompts, options = {}) {
      const { maxNewTokens = 256, temperature = 0, seed = 0, seeds, stop, wholeSentences = false, signal } = options;
      throwIfAborted(signal);
      if (seeds && seeds.length !== prompts.length) throw new EspalierError('bad_config', `${seeds.length} seeds were given for ${prompts.length} prompts`, { fix: 'one a prompt' });
      const texts = new Array<string>(prompts.length).fill('');
      const requests = prompts.map((prompt, i) => ({ id: String(i), prompt: encodePrompt(tokenizer, prompt), seed: seeds?.[i] ?? seed + i, sampling: { maxNewTokens, temperature, stop } }));
      for await (const { requestId, text, finishReason } of engine.generate(requests, { signal })) texts[Number(requestId)] = wholeSentences && finishReason === 'length' ? upToSentence(text) : text;
      throwIfAborted(signal);
      return texts;
    },
  };
  const logpsOf = optionScorer(engine);
  if (logpsOf) {
    model.optionLogpsAll = async (questions, { signal } = {}) =>
      logpsOf(
        questions.map(({ prompt, options }: OptionQuestion) => ({ prompt: encodePrompt(tokenizer, prompt), continuations: options.map((option) => tokenizer.encode(option, { addSpecialTokens: false })) })),
        signal,
      );
    model.optionLogps = async (prompt, options) => (await model.optionLogpsAll!([{ prompt, options }]))[0];
  }
  return model;
}

type Scorer = (questions: readonly { prompt: Int32Array; continuations: readonly Int32Array[] }[], signal?: AbortSignal) => Promise<readonly (readonly number[])[]>;

/** How the engine scores continuations: at once, or from whole sequences; null when it does not score. */
function optionScorer(engine: RolloutEngine): Scorer | null {
  if (engine.scoreContinuations) return (questions, signal) => engine.scoreContinuations!(questions, { signal });
  if (!engine.score) return null;
  return async (questions) => {
    const logps = await engine.score!(questions.flatMap(({ prompt, continuations }) => continuations.map((option) => Int32Array.from([...prompt, ...option]))));
    let next = 0;
    return questions.map(({ prompt, continuations }) => continuations.map(() => logps[next++].subarray(prompt.length).reduce((sum, logp) => sum + logp, 0)));
  };
}
