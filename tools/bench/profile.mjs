// Where the time of a training step goes: node tools/bench/profile.mjs [MODEL] [--steps N] [--rows R] [--length T] [--precision fp32|bf16] [--checkpointing] [--lora RANK] [--json].
// Every Rust kernel is timed at each of its calls. A step makes the same calls in the same order, so that the time of a call is its minimum over the steps:
// other programs on the machine disturb this little. The rest of a step (tape, JavaScript, kernels of tfjs) is the shortest step less all calls in that step.
import { parseArgs } from 'node:util';
import { openEngine } from '@espalier/engine';
import { loadNative } from '@espalier/native';
import { sftObjective } from '@espalier/sft';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { steps: { type: 'string', default: '8' }, rows: { type: 'string', default: '8' }, length: { type: 'string', default: '128' }, precision: { type: 'string' }, checkpointing: { type: 'boolean' }, lora: { type: 'string' }, json: { type: 'boolean' } },
});
const model = positionals[0] ?? '.cache/models/SmolLM2-135M-Instruct.Q4_1.gguf';
const [rows, length] = [Number(options.rows), Number(options.length)];

const binding = loadNative();
if (!binding) throw new Error('the Rust kernels are not here');

/** Outputs of all layers. */
const outputs = (weights, k) => weights.reduce((sum, { length }) => sum + length / k, 0);

/** M, N, K of a call and how many such products it asks for; the LM head's backward pass computes the logits again, which is not counted. */
const products = {
  linear: ([, , packed, , m]) => [m, packed.n, packed.k, 1],
  linearUnpacked: ([, , , , m, n, k]) => [m, n, k, 1],
  linears: ([, , w, , , m, k]) => [m, outputs(w, k), k, 1],
  linearsDx: ([, , w, m, k]) => [m, outputs(w, k), k, 1],
  linearsGrad: ([, dw, , , , m, k]) => [m, outputs(dw, k), k, 2],
  adaptedLinears: ([, , , w, , , , , , m, k]) => [m, outputs(w, k), k, 1],
  adaptedLinearsGrad: ([, , , , , , w, , , , m, k]) => [m, outputs(w, k), k, 1],
  tokenOutputs: ([, , , , , a, v, d]) => [a, v, d, 1],
  tokenOutputsBackward: ([, , , , , a, v, d]) => [a, v, d, 3],
};

let calls = null; // of the step under way: { name, shape, flops, ms }
for (const name of Object.keys(binding)) {
  const original = binding[name];
  if (typeof original !== 'function' || /^[A-Z]/.test(name) || ['features', 'allocate', 'release', 'allocatedBytes'].includes(name)) continue;
  binding[name] = (...args) => {
    if (!calls) return original(...args);
    const [m, n, k, times] = products[name]?.(args) ?? [0, 0, 0, 0];
    const start = performance.now();
    const result = original(...args);
    calls.push({ name, shape: times ? `${m}x${n}x${k}` : '', flops: 2 * m * n * k * times, ms: performance.now() - start });
    return result;
  };
}

const engine = await openEngine({ model, precision: options.precision, gradientCheckpointing: options.checkpointing ?? false, inline: true, ...(options.lora ? { lora: { rank: Number(options.lora), alpha: 2 * Number(options.lora), targets: 'all-linear' } } : {}) });
let state = 1;
const token = () => 1000 + ((state = (state * 48271) % 2147483647) % 39000);
const tokens = Int32Array.from({ length: rows * length }, token);
const offsets = Int32Array.from({ length: rows + 1 }, (_, i) => i * length);
const actionIndex = Int32Array.from(tokens.keys()).filter((i) => i % length !== 0);
const batch = { tokens, offsets, actionIndex, columns: { weights: new Float32Array(actionIndex.length).fill(1) }, normalizer: { tokens: actionIndex.length, sequences: rows } };
const objective = sftObjective({ lossType: 'nll' });

const steps = [];
for (let i = 0; i < Number(options.steps) + 3; i++) {
  calls = [];
  const start = performance.now();
  await engine.learner.forwardBackward(batch, objective);
  await engine.learner.optimStep({ learningRate: 1e-5, maxGradNorm: 1 });
  steps.push({ ms: performance.now() - start, calls });
  calls = null;
}
await engine.close();

const warm = steps.slice(3); // the first ones touch fresh memory, and frozen weights are packed at their third use
const best = warm[0].calls.map((call, i) => ({ ...call, ms: Math.min(...warm.map((step) => step.calls[i]?.ms ?? Infinity)) }));
const rest = Math.min(...warm.map((step) => step.ms - step.calls.reduce((sum, { ms }) => sum + ms, 0)));
const table = new Map();
for (const { name, shape, flops, ms } of best) {
  const key = `${name} ${shape}`;
  const row = table.get(key) ?? { kernel: name, shape, calls: 0, ms: 0, flops: 0 };
  table.set(key, { ...row, calls: row.calls + 1, ms: row.ms + ms, flops: row.flops + flops });
}
const total = best.reduce((sum, { ms }) => sum + ms, rest);
const sorted = [...table.values(), { kernel: 'tape and JavaScript', shape: '', calls: 0, ms: rest, flops: 0 }].sort((a, b) => b.ms - a.ms);
if (options.json) console.log(JSON.stringify({ model, rows, length, features: binding.features(), total, shortest: Math.min(...warm.map(({ ms }) => ms)), table: sorted }, null, 2));
else {
  console.log(`${rows}×${length} tokens, ${binding.features().threads ?? '?'} threads: ${total.toFixed(0)} ms by the minima of calls; shortest step ${Math.min(...warm.map(({ ms }) => ms)).toFixed(0)} ms`);
  console.log('| kernel | M×N×K | calls | ms | share | GFLOP/s |\n|---|---|---|---|---|---|');
  for (const { kernel, shape, calls: count, ms, flops } of sorted) {
    console.log(`| ${kernel} | ${shape} | ${count || ''} | ${ms.toFixed(1)} | ${((100 * ms) / total).toFixed(1)} % | ${flops ? (flops / ms / 1e6).toFixed(0) : ''} |`);
  }
}
