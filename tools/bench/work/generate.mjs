// Generation of 64 + 64 tokens: { model, precision, samplerWeights, lora }; turns: { batch }. With LoRA, the adapter has been trained a little, so that it adds something.
import { openEngine } from '@espalier/engine';
import { sftObjective } from '@espalier/sft';
import { options, serve, textBatch, timed, tokenSource } from '../lib/serve.mjs';

const { model, precision, samplerWeights, lora, prompt = 64, newTokens = 64 } = options;
const engine = await openEngine({ model, ...(precision ? { precision } : {}), ...(samplerWeights ? { samplerWeights } : {}), ...(lora ? { lora } : {}) });
const draw = tokenSource();
if (lora) {
  await engine.learner.forwardBackward(textBatch(2, 64), sftObjective({ lossType: 'nll' }));
  await engine.learner.optimStep({ learningRate: 1e-3 });
}
async function generate(batch, count = newTokens) {
  const requests = Array.from({ length: batch }, (_, i) => ({ id: String(i), prompt: draw(prompt), seed: 1, sampling: { maxNewTokens: count, ignoreEos: true } }));
  let total = 0;
  let begun = 0; // when every prompt had been computed
  const start = performance.now();
  for await (const { tokens } of engine.generate(requests, { onTokens: () => (begun ||= performance.now()) })) total += tokens.length;
  const end = performance.now();
  return { seconds: (end - start) / 1000, tokens: total, perSecond: (1000 * total) / (end - start), decodePerSecond: begun ? (1000 * (total - batch)) / (end - begun) : null };
}
await generate(8, 8);
await timed(() => generate(1, 8));
await serve({ backend: engine.info.backend, precision: engine.info.precision, parameterCount: engine.info.parameterCount }, ({ batch }) => generate(batch));
