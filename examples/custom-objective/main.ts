import { join } from 'node:path';
import { openEngine } from '@espalier/engine';
import { characterTokenizer, createModel } from '@espalier/models';
import { defineObjective, type TokenBatch } from '@espalier/spec';
import { parseArguments, trainingArguments, trainOffline } from '@espalier/trainer';

/**
 * Maximum likelihood with a margin: a token whose probability is `enough` already teaches nothing more, so that steps go to what is not known yet.
 * loss = mean over tokens of max(0, -logp + log(enough)). Its derivative by a log-prob is -1 where the token still counts, else 0.
 */
const margin = (enough: number) =>
  defineObjective({
    name: 'margin',
    needs: ['logps'],
    coupling: 'token', // no token looks at another: a step may be cut anywhere
    evaluate({ logps }, { normalizer }) {
      const counts = logps!.map((logp) => (logp < Math.log(enough) ? 1 : 0));
      const sum = logps!.reduce((total, logp, i) => total + counts[i] * (Math.log(enough) - logp), 0);
      const known = counts.reduce((total, count) => total + 1 - count, 0);
      return { loss: sum / normalizer.tokens, grads: { logps: counts.map((count) => -count / normalizer.tokens) }, metrics: { known: { sum: known, weight: logps!.length } } };
    },
  });

/** Sequences one after another; every token but the first of each is trained. */
function collate(sequences: readonly Int32Array[]): TokenBatch {
  const tokens = Int32Array.from(sequences.flatMap((sequence) => [...sequence]));
  const offsets = [0];
  for (const sequence of sequences) offsets.push(offsets.at(-1)! + sequence.length);
  const actionIndex = Int32Array.from(tokens.keys()).filter((i) => !offsets.includes(i));
  return { tokens, offsets: Int32Array.from(offsets), actionIndex, columns: {}, normalizer: { tokens: actionIndex.length, sequences: sequences.length } };
}

const dir = process.argv[2] ?? join('runs', 'custom-objective');
const model = join(dir, 'model');
await createModel(model, { config: { hiddenSize: 32, numLayers: 1, numHeads: 2, maxPositions: 32 }, tokenizer: characterTokenizer('0123456789+='), seed: 1 });
const engine = await openEngine({ model });
const examples = Array.from({ length: 25 }, (_, i) => [Math.floor(i / 5), i % 5]).map(([a, b]) => engine.tokenizer.encode(`${a}+${b}=${a + b}`));

await trainOffline({
  name: 'margin',
  learner: engine.learner,
  objective: margin(0.9),
  examples,
  collate,
  args: parseArguments(trainingArguments, { outputDir: join(dir, 'run'), overwriteOutputDir: true, perDeviceTrainBatchSize: 25, learningRate: 1e-2, maxSteps: 60, loggingSteps: 20, saveStrategy: 'no' }),
  callbacks: [{ onLog: ({ step }, { loss, known }) => console.log(`step ${step}: loss ${loss.toFixed(3)}, ${(100 * known).toFixed(0)} % of the tokens are known well enough`) }],
});
await engine.close();
