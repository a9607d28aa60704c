// Training steps on the engine: { model, precision, rows, length, gradientCheckpointing, lora, whole, attention }. With `whole`, all tokens are computed at once; with
// `attention`, the engine works on this thread and each step says how long its attention took. Turns: { rows, length }.
import { openEngine } from '@espalier/engine';
import { loadNative } from '@espalier/native';
import { sftObjective } from '@espalier/sft';
import { options, serve, textBatch, timed } from '../lib/serve.mjs';

const { model, precision, rows = 8, length = 128, gradientCheckpointing = false, lora, whole = false, warm = 3, update = true, utilisation = false, attention = false } = options;
let attending = 0; // milliseconds
if (attention) {
  const native = loadNative();
  for (const name of ['causalAttention', 'causalAttentionGrad']) {
    const original = native[name];
    native[name] = (...args) => {
      const start = performance.now();
      original(...args);
      attending += performance.now() - start;
    };
  }
}
const started = performance.now();
const engine = await openEngine({ model, gradientCheckpointing, inline: attention, ...(precision ? { precision } : {}), ...(lora ? { lora } : {}), ...(whole ? { maxTokensPerMicroBatch: rows * length } : {}) });
const loaded = (performance.now() - started) / 1000;
const objective = sftObjective({ lossType: 'nll' });
const step = async (batch = textBatch(rows, length)) => {
  await engine.learner.forwardBackward(batch, objective);
  if (update) await engine.learner.optimStep({ learningRate: 1e-5, maxGradNorm: 1 });
};
const before = await engine.memory();
const first = await timed(() => step());
for (let i = 1; i < warm; i++) await timed(() => step());
const { backend, parameterCount, trainableCount } = engine.info;
await serve(
  { loaded, first, backend, precision: engine.info.precision, parameterCount, trainableCount },
  async (turn) => {
    const batch = textBatch(turn?.rows ?? rows, turn?.length ?? length);
    attending = 0;
    const cpu = process.cpuUsage();
    const seconds = await timed(() => step(batch));
    const { user, system } = process.cpuUsage(cpu);
    return { seconds, ...(attention ? { attention: attending / 1000 } : {}), ...(utilisation ? { processors: (user + system) / 1e6 / seconds } : {}) };
  },
  async () => ({ tensorBytes: (await engine.memory()).numBytes, tensorBytesBefore: before.numBytes }),
);
