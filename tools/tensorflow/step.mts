// Training steps of 8 × 128 tokens on TensorFlow's backend: seconds and peak memory, which stays under 6 GB for SmolLM2-135M.
//
//   ESPALIER_TENSORFLOW_DIR=.cache/tensorflow npx tsx --conditions @espalier/source tools/tensorflow/step.mts [MODEL] [--steps N] [--backend NAME] [--below GB]
//
// Ends with status 1 when the peak is at or over --below.
import { parseArgs } from 'node:util';
import { openEngine } from '@espalier/engine';
import { sftObjective } from '@espalier/sft';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { steps: { type: 'string', default: '3' }, backend: { type: 'string', default: 'tensorflow' }, below: { type: 'string', default: '6' } },
});
const model = positionals[0] ?? '.cache/models/SmolLM2-135M-Instruct.Q4_1.gguf';
const engine = await openEngine({ model, backend: values.backend, inline: true });
const gigabytes = () => (process.resourceUsage().maxRSS / 1e6).toFixed(2);
console.log(`${model}: ${(engine.info.parameterCount / 1e6).toFixed(1)} M parameters, backend ${engine.info.backend}, Node ${process.versions.node}; ${gigabytes()} GB once it is loaded`);

const [rows, length] = [8, 128];
let state = 1;
const tokens = Int32Array.from({ length: rows * length }, () => 1000 + ((state = (state * 48271) % 2147483647) % 39000));
const actionIndex = Int32Array.from(tokens.keys()).filter((i) => i % length !== 0);
const batch = {
  tokens, actionIndex,
  offsets: Int32Array.from({ length: rows + 1 }, (_, i) => i * length),
  columns: { weights: new Float32Array(actionIndex.length).fill(1) },
  normalizer: { tokens: actionIndex.length, sequences: rows },
};
const objective = sftObjective({ lossType: 'nll' });
for (let i = 0; i < Number(values.steps); i++) {
  const start = performance.now();
  const { loss } = await engine.learner.forwardBackward(batch, objective);
  const update = performance.now();
  await engine.learner.optimStep({ learningRate: 1e-5, maxGradNorm: 1 });
  const end = performance.now();
  console.log(`  step ${i + 1}: loss ${typeof loss === 'number' ? loss.toFixed(4) : JSON.stringify(loss)}, ${((end - start) / 1000).toFixed(1)} s, of which the update ${((end - update) / 1000).toFixed(1)} s; peak ${gigabytes()} GB`);
}
await engine.close();
const peak = process.resourceUsage().maxRSS / 1e6;
console.log(`peak memory ${peak.toFixed(2)} GB (below ${values.below} GB is wanted)`);
process.exitCode = peak < Number(values.below) ? 0 : 1;
