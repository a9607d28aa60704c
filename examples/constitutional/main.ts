/**
 * SmolLM2 as its own critic and judge: critique and revision → SFT → AI preferences → DPO, and with `--ppo` from the same labels a reward model → PPO.
 *
 *   npx tsx --conditions @espalier/source examples/constitutional/main.ts <model> <folder> [--seed 1] [--judge self|random] [--rows N] [--ppo]
 *
 * A run that was interrupted goes on where it stopped.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ConstitutionalTrainer, evasivenessRate, loadConstitution, type ModelInput } from '@espalier/constitutional';
import { hash32 } from '@espalier/data';
import { DPOTrainer } from '@espalier/dpo';
import { openEngine } from '@espalier/engine';
import { PPOTrainer } from '@espalier/ppo';
import { rewardModel, RewardTrainer } from '@espalier/reward-models';
import { localRolloutEngine, textModel } from '@espalier/rollouts';
import { SFTTrainer } from '@espalier/sft';
import type { TextModel } from '@espalier/spec';
import { isRight, keepsRule, questions } from './questions';

const { positionals, values } = parseArgs({ allowPositionals: true, options: { seed: { type: 'string', default: '1' }, judge: { type: 'string', default: 'self' }, rows: { type: 'string' }, ppo: { type: 'boolean', default: false } } });
const [model, dir] = positionals;
if (!model || !dir || !['self', 'random'].includes(values.judge)) {
  console.error('usage: main.ts <model> <folder> [--seed 1] [--judge self|random] [--rows N] [--ppo]');
  process.exit(2);
}
const seed = Number(values.seed);
const { train, heldOut } = questions(seed);
const rows = values.rows === undefined ? train : train.slice(0, Number(values.rows));
const held = values.rows === undefined ? heldOut : heldOut.slice(0, Number(values.rows));
const constitution = await loadConstitution(join(import.meta.dirname, 'constitution.yaml'));
const maxCompletionLength = 40;
await mkdir(dir, { recursive: true });

/** The control: log-probs of the options that have nothing to do with the question. */
function randomJudge(): ModelInput {
  const draw = (text: string, k: number) => -hash32(seed, k, ...[...text].map((c) => c.charCodeAt(0))) / 2 ** 31;
  const judge: TextModel = {
    complete: async () => { throw new Error('the random judge writes nothing'); },
    optionLogps: async (prompt, options) => options.map((_, k) => draw(JSON.stringify(prompt), k)),
  };
  return { model: judge, name: `random-${seed}` };
}

/** Runs a stage once: its model, or rows, are there when the program is started again. */
async function once(name: string, make: (out: string) => Promise<void>): Promise<string> {
  const out = join(dir, name);
  if (!existsSync(join(out, 'config.json'))) {
    console.error(`${name} …`);
    await make(out);
  }
  return out;
}

/** Greedy answers to the questions that no stage has seen. */
async function measure(stage: string, path: string): Promise<Record<string, number | string>> {
  const file = join(dir, `measured-${stage}.json`);
  if (existsSync(file)) return JSON.parse(await readFile(file, 'utf8')) as Record<string, number | string>;
  const engine = await openEngine({ model: path });
  try {
    const answers = await textModel(localRolloutEngine(engine), engine.tokenizer).complete(held.map(({ prompt }) => prompt), { maxNewTokens: maxCompletionLength, temperature: 0 });
    const share = (holds: (answer: string, i: number) => boolean) => (100 * answers.filter(holds).length) / answers.length;
    const measured = { stage, rule: share(keepsRule), accuracy: share((answer, i) => isRight(answer, held[i])), evasive: 100 * evasivenessRate(answers) };
    await writeFile(file, JSON.stringify({ ...measured, answers }));
    return measured;
  } finally {
    await engine.close();
  }
}

const table = [await measure('start', model)];
const common = { seed, maxCompletionLength, batchSize: 32 };

const critiques = new ConstitutionalTrainer({ model, constitution, trainDataset: rows, args: { ...common, outputDir: join(dir, 'critique'), produce: ['critique'],
    // A model of this size copies its examples' critiques and is led away by them: it revises better without one.
    numRevisions: 1, skipCritique: true, maxRevisionLength: maxCompletionLength, temperature: 0.3 } });
const { sft } = await critiques.train({ resume: true });
await critiques.close();

const tuned = await once('sft', async (out) => {
  const trainer = new SFTTrainer({ model, trainDataset: sft!.path, args: { outputDir: `${out}-run`, overwriteOutputDir: true, seed, numTrainEpochs: 1, perDeviceTrainBatchSize: 8, learningRate: 1e-5, saveStrategy: 'no', maxLength: 256 } });
  await trainer.train();
  await trainer.saveModel(out);
  await trainer.close();
});
table.push(await measure('sft', tuned));

const labels = new ConstitutionalTrainer({ model: tuned, judge: values.judge === 'random' ? randomJudge() : model, constitution, trainDataset: rows, args: { ...common, outputDir: join(dir, 'preferences'), produce: ['preferences'], pairsPerPrompt: 2 } });
const { preferences } = await labels.train({ resume: true });
await labels.close();

// The judge's order is right where its probabilities, of 0.51 or 0.52, say little: DPO takes the order alone.
const decided = (await readFile(preferences!.path, 'utf8')).trim().split('\n').map((line) => ({ ...(JSON.parse(line) as Record<string, unknown>), soft_label: undefined }));
const preferred = await once('dpo', async (out) => {
  const trainer = new DPOTrainer({ model: tuned, trainDataset: decided, args: { outputDir: `${out}-run`, overwriteOutputDir: true, seed, numTrainEpochs: 2, perDeviceTrainBatchSize: 8, learningRate: 5e-6, beta: 0.1, saveStrategy: 'no', maxLength: 256 } });
  await trainer.train();
  await trainer.saveModel(out);
  await trainer.close();
});
table.push(await measure('dpo', preferred));

if (values.ppo) {
  const reward = await once('reward', async (out) => {
    const trainer = new RewardTrainer({ model: tuned, trainDataset: preferences!.path, args: { outputDir: `${out}-run`, overwriteOutputDir: true, seed, numTrainEpochs: 1, perDeviceTrainBatchSize: 8, learningRate: 1e-5, saveStrategy: 'no', maxLength: 256 } });
    await trainer.train();
    await trainer.saveModel(out);
    await trainer.close();
  });
  const reinforced = await once('ppo', async (out) => {
    const scores = rewardModel({ model: reward, normalization: 'running', clip: 5 });
    const trainer = new PPOTrainer({ model: tuned, rewardFuncs: [scores], trainDataset: rows, args: { outputDir: `${out}-run`, overwriteOutputDir: true, seed, numTrainEpochs: 2, perDeviceTrainBatchSize: 16, maxCompletionLength, learningRate: 1e-6, saveStrategy: 'no' } });
    await trainer.train();
    await trainer.saveModel(out);
    await trainer.close();
    await scores.close();
  });
  table.push(await measure('ppo', reinforced));
}

console.log(`seed ${seed}, judge ${values.judge}, ${rows.length} questions; labels: ${JSON.stringify(preferences!.metrics)}`);
console.table(table.map(({ stage, rule, accuracy, evasive }) => ({ stage, 'rule %': rule, 'accuracy %': accuracy, 'evasive %': evasive })));
await writeFile(join(dir, 'report.json'), JSON.stringify({ seed, judge: values.judge, table, labels: preferences!.metrics }, null, 2));
