// Nothing leaks: trains and generates 320 steps on the built packages, on the engine's own thread, and compares tensors (step 2 with step 50), resident
// memory (step 120, when V8's own heap has grown to its size, with step 320: at most 10 MB more) and what is left when the engine is closed. node tools/checks/steady-memory.mjs [MODEL] [STEPS]
import { openEngine } from '@espalier/engine';
import { sftObjective } from '@espalier/sft';

const model = process.argv[2] ?? 'packages/models/fixtures/smollm2';
const steps = Number(process.argv[3] ?? 320);
const megabytes = () => process.memoryUsage.rss() / 1e6;
const median = (xs) => [...xs].sort((a, b) => a - b)[xs.length >> 1];
const failures = [];
const before = megabytes();
const engine = await openEngine({ model });

const [rows, length] = [4, 16];
const tokens = Int32Array.from({ length: rows * length }, (_, i) => 3 + ((i * 7) % 60));
const actionIndex = Int32Array.from(Array.from(tokens.keys()).filter((i) => i % length !== 0));
const batch = { tokens, offsets: Int32Array.from({ length: rows + 1 }, (_, i) => i * length), actionIndex, columns: { weights: new Float32Array(actionIndex.length).fill(1) }, normalizer: { tokens: actionIndex.length, sequences: rows } };
const objective = sftObjective({ lossType: 'nll' });

const resident = [];
const tensors = new Map();
for (let step = 1; step <= steps; step++) {
  await engine.learner.forwardBackward(batch, objective);
  await engine.learner.optimStep({ learningRate: 1e-4 });
  for await (const _completion of engine.generate([{ id: String(step), prompt: tokens.subarray(0, 8), n: 4, seed: step, sampling: { maxNewTokens: 8 } }]));
  resident[step] = megabytes();
  if (step === 2 || step === 50) tensors.set(step, (await engine.memory()).numTensors);
}
const [early, late] = [median(resident.slice(116, 125)), median(resident.slice(steps - 8, steps + 1))];
console.log(`tensors: ${tensors.get(2)} after step 2, ${tensors.get(50)} after step 50`);
console.log(`resident memory: ${early.toFixed(1)} MB at step 120, ${late.toFixed(1)} MB at step ${steps}`);
if (tensors.get(2) !== tensors.get(50)) failures.push('tensors were left behind');
if (late - early > 10) failures.push(`resident memory grew by ${(late - early).toFixed(1)} MB`);

await engine.close();
await new Promise((resolve) => setTimeout(resolve, 500));
console.log(`closed: ${(megabytes() - before).toFixed(1)} MB more than before the engine was opened, ${process.getActiveResourcesInfo().filter((name) => name === 'MessagePort' || name === 'Worker').length} threads left`);
for (const failure of failures) console.error(failure);
process.exitCode = failures.length > 0 ? 1 : 0;
