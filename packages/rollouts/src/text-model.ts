import { encodePrompt } from '@espalier/engine/local';
import { throwIfAborted, type RolloutEngine, type TextModel } from '@espalier/spec';
import type { Tokenizer } from '@espalier/models';

/**
 * A rollout engine as a model from text to text: what judges and critics are prompts over. `optionLogps` is there when the engine scores.
 * @example
 * const model = textModel(localRolloutEngine(engine), engine.tokenizer);
 * const [answer] = await model.complete([[{ role: 'user', content: 'Name a tree.' }]], { maxNewTokens: 20, temperature: 0 });
 */
export function textModel(engine: RolloutEngine, tokenizer: Tokenizer): TextModel {
  const model: TextModel = {
    async complete(prompts, options = {}) {
      const { maxNewTokens = 256, temperature = 0, seed = 0, stop, signal } = options;
      throwIfAborted(signal);
      const texts = new Array<string>(prompts.length).fill('');
      const requests = prompts.map((prompt, i) => ({ id: String(i), prompt: encodePrompt(tokenizer, prompt), seed: seed + i, sampling: { maxNewTokens, temperature, stop } }));
      for await (const { requestId, text } of engine.generate(requests, { signal })) texts[Number(requestId)] = text;
      throwIfAborted(signal);
      return texts;
    },
  };
  const score = engine.score?.bind(engine);
  if (score)
    model.optionLogps = async (prompt, options) => {
      const start = encodePrompt(tokenizer, prompt);
      const sequences = options.map((option) => Int32Array.from([...start, ...tokenizer.encode(option, { addSpecialTokens: false })]));
      const logps = await score(sequences);
      return logps.map((sequence) => sequence.subarray(start.length).reduce((sum, logp) => sum + logp, 0));
    };
  return model;
}
