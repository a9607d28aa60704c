// What the caller's thread feels: { model }. Turns: "timer" (a 50 ms timer during steps and generation), "idle" (processor time while nothing is asked), "transfer"
// (what a step's messages between the threads cost).
import { MessageChannel, Worker } from 'node:worker_threads';
import { setTimeout as sleep } from 'node:timers/promises';
import { openEngine } from '@espalier/engine';
import { sftObjective } from '@espalier/sft';
import { options, serve, textBatch, timed, tokenSource } from '../lib/serve.mjs';

const { model } = options;
const engine = await openEngine({ model });
const batch = textBatch(8, 128);
const objective = sftObjective({ lossType: 'nll' });
const step = async () => {
  await engine.learner.forwardBackward(batch, objective);
  await engine.learner.optimStep({ learningRate: 1e-6 });
};
const generate = async () => {
  for await (const _ of engine.generate(Array.from({ length: 8 }, (_, i) => ({ id: String(i), prompt: tokenSource(i + 1)(64), seed: 1, sampling: { maxNewTokens: 64, ignoreEos: true } }))));
};
await step();
await generate();

/** The longest that a timer set for 50 ms took, while `body` ran again and again. */
async function timer(body) {
  let running = true;
  const waits = [];
  const watching = (async () => {
    while (running) waits.push(1000 * (await timed(() => sleep(50))));
  })();
  for (let i = 0; i < 4; i++) await body();
  running = false;
  await watching;
  return { longest: Math.max(...waits), timers: waits.length };
}

/** A thread that gives back what it gets, as the engine's does: the batch goes there, log-probs come back; the derivative goes there, nothing comes back. */
async function transfer() {
  const echo = new Worker("const { parentPort } = require('node:worker_threads'); parentPort.on('message', ({ port, part, reply }) => (port.postMessage(reply ? new Float32Array(reply) : null)));", { eval: true });
  const exchange = (part, reply) =>
    new Promise((resolve) => {
      const { port1, port2 } = new MessageChannel();
      port1.once('message', (value) => (port1.close(), resolve(value)));
      echo.postMessage({ port: port2, part, reply }, [port2]);
    });
  const { tokens, offsets, actionIndex } = batch;
  const messages = async () => {
    await exchange({ tokens, offsets, prefixOf: new Int32Array(8), actionIndex }, actionIndex.length);
    await exchange({ grads: new Float32Array(actionIndex.length) }, 0);
    await exchange({ learningRate: 1e-6 }, 0);
  };
  for (let i = 0; i < 50; i++) await messages();
  const cost = (await timed(async () => {
    for (let i = 0; i < 200; i++) await messages();
  })) / 200;
  await echo.terminate();
  const stepSeconds = await timed(step);
  return { cost, step: stepSeconds, share: cost / stepSeconds };
}

/** The median of five spells: V8 tidies up once in a while, and a thread that spins does so in all of them. */
async function idle() {
  const shares = [];
  for (let i = 0; i < 5; i++) {
    await sleep(500);
    const cpu = process.cpuUsage();
    const seconds = await timed(() => sleep(2000));
    const { user, system } = process.cpuUsage(cpu);
    shares.push((user + system) / 1e6 / seconds);
  }
  return { share: shares.sort((a, b) => a - b)[2] };
}

await serve({ backend: engine.info.backend, precision: engine.info.precision }, async (what) => {
  if (what === 'timer') return { training: await timer(step), generation: await timer(generate) };
  return what === 'idle' ? idle() : transfer();
});
