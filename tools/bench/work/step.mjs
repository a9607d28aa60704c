// Training steps on the engine: { model, precision, rows, length, gradientCheckpointing, lora, whole }. With `whole`, all tokens are computed at once.
import { openEngine } from '@espalier/engine';
import { sftObjective } from '@espalier/sft';
import { options, serve, textBatch, timed } from '../lib/serve.mjs';

const { model, precision, rows = 8, length = 128, gradientCheckpointing = false, lora, whole = false, warm = 2, update = true, utilisation = false } = options;
const started = performance.now();
const engine = await openEngine({ model, gradientCheckpointing, ...(precision ? { precision } : {}), ...(lora ? { lora } : {}), ...(whole ? { maxTokensPerMicroBatch: rows * length } : {}) });
const loaded = (performance.now() - started) / 1000;
const batch = textBatch(rows, length);
const objective = sftObjective({ lossType: 'nll' });
const step = async () => {
  await engine.learner.forwardBackward(batch, objective);
  if (update) await engine.learner.optimStep({ learningRate: 1e-5, maxGradNorm: 1 });
};
const before = await engine.memory();
const first = await timed(step);
for (let i = 1; i < warm; i++) await timed(step);
const { backend, parameterCount, trainableCount } = engine.info;
await serve(
  { loaded, first, backend, precision: engine.info.precision, parameterCount, trainableCount },
  async () => {
    const cpu = process.cpuUsage();
    const seconds = await timed(step);
    const { user, system } = process.cpuUsage(cpu);
    return { seconds, ...(utilisation ? { processors: (user + system) / 1e6 / seconds } : {}) };
  },
  async () => ({ tensorBytes: (await engine.memory()).numBytes, tensorBytesBefore: before.numBytes }),
);
