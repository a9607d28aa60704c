// Training steps of 8 × 128 tokens and generation, on the built packages: node tools/bench/engine.mjs [MODEL] [--steps N] [--only train|generate].
// The other side is PyTorch: python3 tools/bench/torch_step.py FOLDER. Run both on an otherwise idle machine and compare within one run.
import { parseArgs } from 'node:util';
import { openEngine } from '@espalier/engine';
import { sftObjective } from '@espalier/sft';

const { values, positionals } = parseArgs({ allowPositionals: true, options: { steps: { type: 'string', default: '8' }, only: { type: 'string' }, precision: { type: 'string' } } });
const model = positionals[0] ?? '.cache/models/SmolLM2-135M-Instruct.Q4_1.gguf';
const engine = await openEngine({ model, precision: values.precision, inline: process.env.INLINE === '1' });
const { info } = engine;
console.log(`${model}: ${(info.parameterCount / 1e6).toFixed(1)} M parameters, backend ${info.backend}, ${info.precision}, Node ${process.versions.node}`);

const median = (xs) => [...xs].sort((a, b) => a - b)[Math.floor(xs.length / 2)];
let state = 1;
const token = () => 1000 + ((state = (state * 48271) % 2147483647) % 39000);
const sequence = (length) => Int32Array.from({ length }, token);

if (values.only !== 'generate') {
  const [rows, length] = [8, 128];
  const tokens = sequence(rows * length);
  const offsets = Int32Array.from({ length: rows + 1 }, (_, i) => i * length);
  const actionIndex = Int32Array.from(Array.from({ length: rows * length }, (_, i) => i).filter((i) => i % length !== 0));
  const batch = { tokens, offsets, actionIndex, columns: { weights: new Float32Array(actionIndex.length).fill(1) }, normalizer: { tokens: actionIndex.length, sequences: rows } };
  const objective = sftObjective({ lossType: 'nll' });
  const times = [];
  for (let i = 0; i < Number(values.steps); i++) {
    const start = performance.now();
    await engine.learner.forwardBackward(batch, objective);
    const update = performance.now();
    await engine.learner.optimStep({ learningRate: 1e-5, maxGradNorm: 1 });
    times.push((performance.now() - start) / 1000);
    console.log(`  step ${i + 1}: ${times.at(-1).toFixed(2)} s, of which the update ${((performance.now() - update) / 1000).toFixed(2)} s`);
  }
  const tail = times.slice(Math.min(3, times.length - 1));
  console.log(`train ${rows}×${length}: median ${median(tail).toFixed(2)} s, ${Math.min(...tail).toFixed(2)} to ${Math.max(...tail).toFixed(2)} s, first ${times[0].toFixed(2)} s, peak memory ${(process.resourceUsage().maxRSS / 1e6).toFixed(2)} GB`);
}

if (values.only !== 'train') {
  for (const batch of [1, 8, 32]) {
    const rates = [];
    for (let run = 0; run < 3; run++) {
      const requests = Array.from({ length: batch }, (_, i) => ({ id: String(i), prompt: sequence(64), seed: 1, sampling: { maxNewTokens: 64, ignoreEos: true } }));
      const start = performance.now();
      let count = 0;
      for await (const { tokens } of engine.generate(requests)) count += tokens.length;
      rates.push((1000 * count) / (performance.now() - start));
    }
    console.log(`generate B=${batch} 64+64: median ${median(rates).toFixed(1)} tok/s, ${Math.min(...rates).toFixed(1)} to ${Math.max(...rates).toFixed(1)}`);
  }
}
await engine.close();
