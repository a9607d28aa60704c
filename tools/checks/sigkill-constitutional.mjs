// Kills `espalier run` with SIGKILL at random instants of a constitutional pipeline (critique and revision, SFT, pairs, labels, a branch with a reward model and
// PPO, DPO), goes on with --resume each time, and compares the end with a run that was left alone: every row and every weight byte for byte. What was finished
// is not made again: a row's log only ever grows, and no finished stage runs twice.
//
//   node tools/checks/sigkill-constitutional.mjs [--kills 12] [--seed 1]        needs the built packages
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const command = fileURLToPath(new URL('../../packages/cli/bin/espalier.js', import.meta.url));
/** Logs of finished rows, by stage. */
const logs = ['02-critique-revise/critiques.jsonl', '04-ai-preferences/pairs.jsonl', '04-ai-preferences/labels.jsonl'];

async function prepare(base) {
  const { createModel, characterTokenizer } = await import('@espalier/models');
  const model = join(base, 'model');
  const letters = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).join('');
  await createModel(model, { config: { hiddenSize: 48, numLayers: 2, numHeads: 2, maxPositions: 4096 }, tokenizer: characterTokenizer(`${letters}\n`), seed: 1 });
  const rows = Array.from({ length: 24 }, (_, i) => ({ prompt: `${i} and ${i + 1}` }));
  writeFileSync(join(base, 'prompts.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const dataset = join(base, 'prompts.jsonl');
  const principle = (id) => ({ id, critique_request: `Is it ${id}?`, revision_request: `Make it ${id}.`, preference_question: `Which is ${id}?` });
  writeFileSync(join(base, 'constitution.yaml'), JSON.stringify({ name: 'small', licence: 'CC0-1.0', source: 'this check', principles: ['brief', 'kind', 'true'].map(principle) }));
  const ask = { dataset, prompt_format: 'plain', few_shot: 0, constitution: join(base, 'constitution.yaml'), num_revisions: 2, max_completion_length: 8, max_critique_length: 8, max_revision_length: 8, batch_size: 2 };
  const training = { per_device_train_batch_size: 4, learning_rate: 1e-3, max_steps: 12, save_steps: 2, save_total_limit: 2, max_length: 64 };
  const { max_length: _, ...online } = { ...training, max_steps: 6 };
  const stages = [
    { model },
    { critique_revise: ask },
    { sft: training },
    { ai_preferences: { ...ask, pairs_per_prompt: 2 } },
    { branch: { name: 'ppo', stages: [{ reward_model: training }, { ppo: { ...online, dataset, max_completion_length: 6 } }] } },
    { dpo: training },
  ];
  writeFileSync(join(base, 'pipeline.json'), JSON.stringify({ seed: 7, stages }));
}

/** Runs the pipeline to its end, or kills it after `delay` milliseconds. @returns {Promise<boolean>} whether it was killed */
function run(base, name, delay) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [command, 'run', join(base, 'pipeline.json'), '--resume', '--output-dir', join(base, name)], { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr.on('data', (data) => (said += String(data)));
    const timer = delay === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), delay);
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (signal === 'SIGKILL') resolve(true);
      else if (code === 0) resolve(false);
      else reject(new Error(`the run ended with status ${code}: ${said}`));
    });
  });
}

/** Everything that a run made and that does not hold times: rows, weights, optimisers. */
function outcome(dir) {
  const found = {};
  for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath ?? entry.path, entry.name);
    const name = relative(dir, path);
    if (!entry.isFile() || !/\.(safetensors|jsonl)$/.test(name) || /(^|\/)(metrics|log|judge)\.jsonl$|\/cache\//.test(name)) continue;
    found[name] = createHash('sha256').update(readFileSync(path)).digest('hex');
  }
  return found;
}

/** The finished rows of each log. The last line may be torn. */
const finished = (dir) => Object.fromEntries(logs.map((name) => [name, existsSync(join(dir, name)) ? readFileSync(join(dir, name), 'utf8').split('\n').slice(0, -1) : []]));

async function main() {
  const { values } = parseArgs({ options: { kills: { type: 'string', default: '12' }, seed: { type: 'string', default: '1' } } });
  const wanted = Number(values.kills);
  let state = Number(values.seed) >>> 0;
  const random = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  const base = mkdtempSync(join(tmpdir(), 'espalier-sigkill-'));
  const began = Date.now();
  try {
    await prepare(base);
    await run(base, 'straight');
    const whole = Date.now() - began;
    const expected = outcome(join(base, 'straight'));
    const stagesHit = new Set();
    let kills = 0;
    let runs = 0;
    while (kills < wanted) {
      const dir = join(base, `killed-${++runs}`);
      let before = finished(dir);
      // Lives of the run: each ends at a random instant, start-up included, until no kill is left or the run ends.
      while (await run(base, `killed-${runs}`, kills < wanted ? 300 + random() * whole * 0.6 : undefined)) {
        kills++;
        const now = finished(dir);
        for (const name of logs) if (before[name].some((line, i) => now[name][i] !== line)) throw new Error(`${name}: a finished row was lost or made again`);
        before = now;
        const manifest = join(dir, 'pipeline.json');
        stagesHit.add(existsSync(manifest) ? JSON.parse(readFileSync(manifest, 'utf8')).stages.at(-1).folder : 'start');
      }
      if (readdirSync(dir).some((name) => name.includes('.previous-'))) throw new Error('a stage was begun anew');
      const found = outcome(dir);
      const different = [...new Set([...Object.keys(expected), ...Object.keys(found)])].filter((key) => expected[key] !== found[key]);
      if (different.length > 0) throw new Error(`after ${kills} kills the resumed run differs from the one that was left alone in ${different.join(', ')}`);
      rmSync(dir, { recursive: true });
    }
    console.log(`sigkill-constitutional: ${kills} kills in ${runs} runs (in ${[...stagesHit].sort().join(', ')}), ${Object.keys(expected).length} files equal every time, ${((Date.now() - began) / 1000).toFixed(0)} s`);
  } finally {
    rmSync(base, { recursive: true, force: true });
  }
}

await main();
