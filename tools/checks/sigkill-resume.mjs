// Kills `espalier rpt` with SIGKILL at 20 random instants, half of them while a checkpoint is being written, resumes it each time with --resume, and
// compares the end with that of a run that was left alone: weights, optimiser and samples byte for byte, metrics but for times.
//
//   node tools/checks/sigkill-resume.mjs [--kills 20] [--seed 1]        needs the built packages
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, watch, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const steps = 24;
const command = fileURLToPath(new URL('../../packages/cli/bin/espalier.js', import.meta.url));

/** The run that is killed: a tiny model, GRPO with a KL term and a language-model loss, a checkpoint every second step. */
const flags = (base, name) => [
  'rpt', '--resume', '--output-dir', join(base, name), '--model', join(base, 'model'), '--dataset', join(base, 'train.jsonl'), '--eval-dataset', join(base, 'held-out.jsonl'), '--lm-dataset', join(base, 'train.jsonl'),
  '--reward', 'numeric', '--reward', 'exact=0.5', '--max-steps', steps, '--per-device-train-batch-size', 8, '--gradient-accumulation-steps', 2, '--num-generations', 4, '--max-completion-length', 5, '--learning-rate', 3e-3,
  '--save-steps', 2, '--logging-steps', 3, '--eval-steps', 5, '--save-total-limit', 3, '--log-completions', '--kl-coef', 0.05, '--kl-placement', 'reward', '--kl-target', 1, '--kl-horizon', 100, '--lm-loss-coef', 0.5, '--lm-batch-size', 4,
].map(String);

async function prepare(base) {
  const { createModel, characterTokenizer } = await import('@espalier/models');
  const { arithmeticTask } = await import('@espalier/data');
  await createModel(join(base, 'model'), { config: { hiddenSize: 48, numLayers: 2, numHeads: 2 }, tokenizer: characterTokenizer('0123456789+= '), seed: 1 });
  const task = (options) => arithmeticTask({ difficulty: 1, format: 'text', template: '{expression}=', ...options });
  const write = (file, rows) => writeFileSync(join(base, file), Array.from({ length: rows.size }, (_, i) => `${JSON.stringify(rows.row(i))}\n`).join(''));
  write('train.jsonl', task({ size: 60, withCompletion: true }));
  write('held-out.jsonl', task({ size: 12, seed: 5 }));
}

/**
 * Runs the command to its end, or until it is killed.
 * @param {((kill: () => void, event: string) => void) | undefined} onEvent told `begin` and `writing` as they happen
 * @returns {Promise<boolean>} whether it was killed
 */
function run(base, name, onEvent) {
  return new Promise((resolve, reject) => {
    const process_ = spawn(process.execPath, [command, ...flags(base, name)], { stdio: ['ignore', 'ignore', 'pipe'] });
    let watcher;
    let said = '';
    const kill = () => process_.kill('SIGKILL');
    process_.stderr.on('data', (data) => {
      const had = /^(run|resuming at step \d+) in /m.test(said);
      said += String(data);
      if (had || !/^(run|resuming at step \d+) in /m.test(said) || !onEvent) return;
      onEvent(kill, 'begin');
      watcher = watch(join(base, name, 'checkpoints'), (_, file) => file?.startsWith('.writing-step') && onEvent(kill, 'writing'));
    });
    process_.on('error', reject);
    process_.on('close', (code, signal) => {
      watcher?.close();
      if (signal === 'SIGKILL') resolve(true);
      else if (code === 0) resolve(false);
      else reject(new Error(`the run ended with status ${code}: ${said}`));
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
    let started = 0;
    await run(base, 'straight', () => (started ||= Date.now()));
    const perStep = (Date.now() - started) / steps;
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
          if (!armed || (onWrite ? event !== 'writing' || --writes > 0 : event !== 'begin')) return;
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

await main();
