// Kills a training run with SIGKILL at 20 random instants, half of them while a checkpoint is being written, resumes it each time, and compares the
// end with that of a run that was left alone: weights, optimiser and samples byte for byte, metrics but for times.
//
//   node tools/checks/sigkill-resume.mjs [--kills 20] [--seed 1]        needs the built packages
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, watch } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const steps = 24;

/** The run that is killed: a tiny model, GRPO with a KL term and a language-model loss, a checkpoint every second step. */
async function child(base, name) {
  const { RPTTrainer } = await import('@espalier/rpt');
  const { grpo } = await import('@espalier/grpo');
  const { arithmeticTask } = await import('@espalier/data');
  const { numericReward, formatReward } = await import('@espalier/rewards');
  const rows = arithmeticTask({ difficulty: 1, format: 'text', template: '{expression}=', size: 60, withCompletion: true });
  const trainer = new RPTTrainer({
    model: join(base, 'model'),
    algorithm: grpo({ numGenerations: 4 }),
    rewardFuncs: [numericReward(), formatReward({ pattern: '^\\d+$' })],
    trainDataset: rows,
    evalDataset: arithmeticTask({ difficulty: 1, format: 'text', template: '{expression}=', size: 12, seed: 5 }),
    lmDataset: rows,
    args: {
      outputDir: join(base, name), maxSteps: steps, perDeviceTrainBatchSize: 8, gradientAccumulationSteps: 2, numGenerations: 4, maxCompletionLength: 5, learningRate: 3e-3,
      saveSteps: 2, loggingSteps: 3, evalSteps: 5, saveTotalLimit: 3, logCompletions: true, klCoef: 0.05, klPlacement: 'reward', klTarget: 1, klHorizon: 100, lmLossCoef: 0.5, lmBatchSize: 4,
    },
    callbacks: [{ onTrainBegin: ({ step }) => console.log(`begin ${step}`), onStep: ({ step }) => console.log(`step ${step}`) }],
  });
  await trainer.train({ resume: true });
  await trainer.close();
}

async function prepare(base) {
  const { createModel, characterTokenizer } = await import('@espalier/models');
  await createModel(join(base, 'model'), { config: { hiddenSize: 48, numLayers: 2, numHeads: 2 }, tokenizer: characterTokenizer('0123456789+= '), seed: 1 });
}

/**
 * Runs the child to its end, or until it is killed.
 * @param {((kill: () => void, event: string) => void) | undefined} onEvent told `begin`, `step` and `writing` as they happen
 * @returns {Promise<boolean>} whether it was killed
 */
function run(base, name, onEvent) {
  return new Promise((resolve, reject) => {
    const process_ = spawn(process.execPath, [...process.execArgv, fileURLToPath(import.meta.url), 'child', base, name], { stdio: ['ignore', 'pipe', 'inherit'] });
    let watcher;
    const kill = () => process_.kill('SIGKILL');
    process_.stdout.on('data', (data) => {
      for (const line of String(data).split('\n').filter(Boolean)) onEvent?.(kill, line);
      if (!watcher && onEvent) {
        try {
          watcher = watch(join(base, name, 'checkpoints'), (_, file) => file?.startsWith('.writing-step') && onEvent(kill, 'writing'));
        } catch {
          // not there yet
        }
      }
    });
    process_.on('error', reject);
    process_.on('close', (code, signal) => {
      watcher?.close();
      if (signal === 'SIGKILL') resolve(true);
      else if (code === 0) resolve(false);
      else reject(new Error(`the run ended with status ${code}`));
    });
  });
}

const withoutTimes = (text) =>
  text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.stringify(Object.fromEntries(Object.entries(JSON.parse(line)).filter(([key]) => !/_(run)?time$/.test(key)))))
    .join('\n');

/** What must be equal at the end, by name. */
function outcome(base, name) {
  const dir = join(base, name);
  const found = { 'metrics.jsonl': withoutTimes(readFileSync(join(dir, 'metrics.jsonl'), 'utf8')), 'samples.jsonl': readFileSync(join(dir, 'samples.jsonl'), 'utf8'), checkpoints: readdirSync(join(dir, 'checkpoints')).sort().join(' ') };
  for (const checkpoint of readdirSync(join(dir, 'checkpoints')).filter((entry) => entry.startsWith('step-'))) {
    for (const file of readdirSync(join(dir, 'checkpoints', checkpoint))) {
      if (file !== 'trainer_state.json') found[`${checkpoint}/${file}`] = createHash('sha256').update(readFileSync(join(dir, 'checkpoints', checkpoint, file))).digest('hex');
    }
  }
  return found;
}

async function main() {
  const { values } = parseArgs({ options: { kills: { type: 'string', default: '20' }, seed: { type: 'string', default: '1' } } });
  const wanted = Number(values.kills);
  let state = Number(values.seed) >>> 0;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const base = mkdtempSync(join(tmpdir(), 'espalier-sigkill-'));
  const began = Date.now();
  try {
    await prepare(base);
    const stepTimes = [];
    await run(base, 'straight', (_, event) => event.startsWith('step') && stepTimes.push(Date.now()));
    const perStep = (stepTimes.at(-1) - stepTimes[0]) / (stepTimes.length - 1);
    const expected = outcome(base, 'straight');

    let kills = 0;
    let whileWriting = 0;
    let runs = 0;
    while (kills < wanted) {
      const name = `killed-${++runs}`;
      for (let alive = true; alive; ) {
        // One life of the run: it ends at a random instant of its next steps, or right after a random one of its next writes began.
        const onWrite = kills % 2 === 1;
        let writes = 1 + Math.floor(random() * 2);
        const delay = onWrite ? random() * 5 : random() * perStep * 6;
        let armed = kills < wanted;
        alive = await run(base, name, (kill, event) => {
          if (!armed || (onWrite ? event !== 'writing' || --writes > 0 : !event.startsWith('begin'))) return;
          armed = false;
          setTimeout(kill, delay);
        });
        if (alive) {
          kills++;
          if (readdirSync(join(base, name, 'checkpoints')).some((entry) => entry.startsWith('.'))) whileWriting++;
        }
      }
      const found = outcome(base, name);
      const different = [...new Set([...Object.keys(expected), ...Object.keys(found)])].filter((key) => expected[key] !== found[key]);
      if (different.length > 0) throw new Error(`after ${kills} kills the resumed run differs from the one that was left alone in ${different.join(', ')}`);
      rmSync(join(base, name), { recursive: true });
    }
    console.log(`sigkill-resume: ${kills} kills in ${runs} runs (${whileWriting} left a checkpoint half written), ${Object.keys(expected).length} files equal every time, ${((Date.now() - began) / 1000).toFixed(0)} s`);
  } finally {
    rmSync(base, { recursive: true, force: true });
  }
}

if (process.argv[2] === 'child') await child(process.argv[3], process.argv[4]);
else await main();
