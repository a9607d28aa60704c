// A pipeline of four packages: @espalier/pipeline, models, data, rewards. First a tiny model from nothing, so that no hub is asked; then, from its checkpoint,
// supervised fine-tuning, reinforcement and an evaluation, to the end.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { datasetOf } from '@espalier/data';
import { characterTokenizer, openCheckpoint } from '@espalier/models';
import { evaluate, pipeline, pretrain, rpt, runPipeline, sft, startFrom } from '@espalier/pipeline';
import { exactReward } from '@espalier/rewards';

const sums = Array.from({ length: 20 }, (_, i) => ({ prompt: `${i % 5}+${i % 4}=`, answer: String((i % 5) + (i % 4)) }));
const made = await runPipeline(
  pipeline(
    pretrain({
      model: { hiddenSize: 16, numLayers: 1, numHeads: 2, intermediateSize: 32, maxPositions: 16 },
      tokenizer: characterTokenizer('0123456789+='),
      dataset: datasetOf(sums.map(({ prompt, answer }) => ({ text: prompt + answer }))),
      perDeviceTrainBatchSize: 8,
      maxSteps: 3,
    }),
  ),
  { outputDir: 'runs/tiny', seed: 1 },
);
const checkpoint = made.stages[0].gives.policy.path;
const opened = await openCheckpoint(checkpoint);
assert.equal(opened.config.hiddenSize, 16);
opened.close();

const report = await runPipeline(
  pipeline(
    startFrom(checkpoint),
    sft({ dataset: datasetOf(sums.map(({ prompt, answer }) => ({ prompt, completion: answer }))), perDeviceTrainBatchSize: 4, maxSteps: 2 }),
    rpt({ dataset: datasetOf(sums), reward: exactReward(), numGenerations: 4, perDeviceTrainBatchSize: 8, maxCompletionLength: 2, maxSteps: 2 }),
    evaluate({ dataset: datasetOf(sums), reward: exactReward(), maxCompletionLength: 2 }),
  ),
  { outputDir: 'runs/composed', seed: 1 },
);
const last = report.stages.at(-1);
assert.equal(report.stages.length, 4);
assert.ok(last.metrics.accuracy >= 0 && last.metrics.accuracy <= 1, `accuracy is ${last.metrics.accuracy}`);
assert.ok(existsSync(join(report.dir, 'report.html')));
const logs = readdirSync('runs', { recursive: true }).map(String).filter((path) => path.endsWith('log.jsonl'));
const backends = logs.flatMap((path) => readFileSync(join('runs', path), 'utf8').trim().split('\n').map((line) => JSON.parse(line))).filter(({ event }) => event === 'start').map(({ backend }) => backend);
assert.equal(backends.length, 3, 'pre-training, SFT and RPT say on which backend they start');
console.log(`backend ${[...new Set(backends)].join(', ')}`);
