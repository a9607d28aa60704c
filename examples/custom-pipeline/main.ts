import { appendFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { openEngine } from '@espalier/engine';
import { characterTokenizer } from '@espalier/models';
import { digestPath, evaluate, pipeline, pretrain, reportTable, runPipeline, sft } from '@espalier/pipeline';
import { numericReward } from '@espalier/rewards';
import { defineStage, type PolicyHandle, type RowsHandle } from '@espalier/spec';

const sums = Array.from({ length: 36 }, (_, i) => [Math.floor(i / 6), i % 6]).map(([a, b]) => ({ prompt: `${a}+${b}=`, answer: String(a + b) }));
/** Text that a model learns to continue from: every other answer is wrong. */
const corpus = sums.flatMap(({ prompt, answer }) => [{ text: prompt + answer }, { text: `${prompt}${Number(answer) + 1}` }]);

/**
 * Rejection sampling (RAFT, 2304.06767): the policy answers each prompt several times, and its right answers become rows for fine-tuning. What it needs and gives
 * stands in its type, so the compiler knows where it may stand.
 */
const rejectionSampling = (n: number) =>
  defineStage<{ policy: PolicyHandle }, { rows: RowsHandle }, 'rejection-sampling'>({
    name: 'rejection-sampling',
    needs: ['policy'],
    gives: ['rows'],
    async run({ policy }, { dir, seed, signal, report }) {
      const path = join(dir, 'rows.jsonl');
      await rm(path, { force: true });
      const engine = await openEngine({ model: policy.path });
      try {
        let count = 0;
        let done = 0;
        const requests = sums.map(({ prompt }, i) => ({ id: String(i), prompt: engine.tokenizer.encode(prompt), n, seed: seed + i, sampling: { maxNewTokens: 4 } }));
        for await (const { requestId, text, tokens, finishReason } of engine.generate(requests, signal ? { signal } : {})) {
          const row = sums[Number(requestId)];
          const [score] = await numericReward().score([{ prompt: row.prompt, completion: text, completionTokens: tokens, finishReason, group: requestId, row }], { step: 0 });
          if (score === 1) {
            await appendFile(path, `${JSON.stringify({ prompt: row.prompt, completion: text })}\n`);
            count += 1;
          }
          report({ stage: 'rejection-sampling', step: ++done, total: sums.length * n, metrics: { kept: count } });
        }
        return { rows: { kind: 'rows', path, digest: await digestPath(path), count } };
      } finally {
        await engine.close();
      }
    },
  });

const check = (name: string) => evaluate({ name, dataset: sums, reward: 'numeric', maxCompletionLength: 4 });
const training = pipeline(
  pretrain({
    model: { hiddenSize: 48, numLayers: 2, numHeads: 4, maxPositions: 32 },
    tokenizer: characterTokenizer('0123456789+='),
    dataset: corpus,
    perDeviceTrainBatchSize: 72,
    learningRate: 5e-3,
    maxSteps: 120,
    saveStrategy: 'no',
  }),
  check('before'),
  rejectionSampling(8),
  sft({ perDeviceTrainBatchSize: 32, learningRate: 1e-3, maxSteps: 40, saveStrategy: 'no' }), // on the rows that the stage before gives
  check('after'),
);

const outputDir = process.argv[2] ?? join('runs', 'custom-pipeline');
console.log(reportTable(await runPipeline(training, { outputDir, seed: 1, resume: true }), { metrics: ['accuracy', 'loss', 'steps'] }));
