// The sampler's log-probs against those that the learner computes for the same tokens, in the engine's precision: { model, precision, samplerWeights, lora }. Mean and greatest |Δ| over some
// thousand tokens. (`engine.score` is in fp32 whatever the precision.)
import { openEngine } from '@espalier/engine';
import { sftObjective } from '@espalier/sft';
import { options, serve, textBatch } from '../lib/serve.mjs';

const { model, precision, samplerWeights, lora, prompts = 8, samples = 4, newTokens = 64 } = options;
const engine = await openEngine({ model, ...(precision ? { precision } : {}), ...(samplerWeights ? { samplerWeights } : {}), ...(lora ? { lora } : {}) });
if (lora)
  for (let i = 0; i < 3; i++) {
    await engine.learner.forwardBackward(textBatch(2, 64, i + 1), sftObjective({ lossType: 'nll' }));
    await engine.learner.optimStep({ learningRate: 1e-4 });
  }
await serve({ backend: engine.info.backend, precision: engine.info.precision }, async () => {
  const questions = Array.from({ length: prompts }, (_, i) => `What is ${11 + 7 * i} + ${5 + 3 * i}? Explain each step.`);
  const encoded = questions.map((content) => engine.tokenizer.encode(engine.tokenizer.applyChatTemplate([{ role: 'user', content }], { addGenerationPrompt: true })));
  const start = performance.now();
  const sequences = [];
  for await (const { requestId, tokens, logps } of engine.generate(encoded.map((prompt, i) => ({ id: String(i), prompt, n: samples, seed: 7, sampling: { maxNewTokens: newTokens } })))) {
    const prompt = encoded[Number(requestId)];
    sequences.push({ prompt, logps, all: Int32Array.from([...prompt, ...tokens]) });
  }
  const offsets = Int32Array.from([0, ...sequences.map(({ all }) => all.length)]);
  for (let s = 1; s < offsets.length; s++) offsets[s] += offsets[s - 1];
  const tokens = Int32Array.from(sequences.flatMap(({ all }) => [...all]));
  const actionIndex = Int32Array.from(sequences.flatMap(({ prompt, logps }, s) => Array.from(logps, (_, t) => offsets[s] + prompt.length + t)));
  const { logps: trained } = await engine.learner.forward({ tokens, offsets, actionIndex, columns: {}, normalizer: { tokens: actionIndex.length, sequences: sequences.length } }, ['logps']);
  const differences = sequences.flatMap(({ logps }) => [...logps]).map((logp, i) => Math.abs(logp - trained[i]));
  const [sum, count, greatest] = [differences.reduce((a, b) => a + b, 0), differences.length, differences.reduce((a, b) => Math.max(a, b), 0)];
  return { seconds: (performance.now() - start) / 1000, mean: sum / count, greatest, tokens: count };
});
