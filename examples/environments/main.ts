/**
 * A decoder that knows nothing learns to guess a number from 1 to 7 in three guesses, told after each whether the number is higher or lower. Who halves the range
 * wins every game; who does not listen wins three in seven at best. `--blind` trains without being told anything: the control.
 *
 *   npx tsx examples/environments/main.ts [--steps 300] [--seed 1] [--blind] [--dir runs/environments]
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { GRPOTrainer } from '@espalier/grpo';
import { characterTokenizer, createModel } from '@espalier/models';
import { guessingGame } from '@espalier/rollouts';

const { values: flags } = parseArgs({ options: { steps: { type: 'string', default: '300' }, seed: { type: 'string', default: '1' }, blind: { type: 'boolean', default: false }, dir: { type: 'string', default: join('runs', 'environments') } } });
const seed = Number(flags.seed);
const dir = join(flags.dir, `${flags.blind ? 'blind' : 'told'}-${seed}`);
const range = 7;
const guesses = 3;

// The words of this world: seven numbers, `?` that begins a game, `+` and `-` for higher and lower. A reply is closed by `<|end|>`.
const model = join(dir, 'start');
await createModel(model, {
  config: { hiddenSize: 64, numLayers: 2, numHeads: 4, maxPositions: 32 },
  tokenizer: characterTokenizer('1234567?+-=', { chatTemplate: "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ message['content'] + '<|end|>' }}{% else %}{{ message['content'] + '=' }}{% endif %}{% endfor %}" }),
  seed,
});

const trainer = new GRPOTrainer({
  model,
  environment: () => guessingGame({ max: range, maxGuesses: guesses, prompt: '?', higher: flags.blind ? '?' : '+', lower: flags.blind ? '?' : '-', unclear: '?' }),
  trainDataset: Array.from({ length: 512 }, () => ({})), // the game says itself what is asked; each of its rows is a game with a secret of its own
  evalDataset: Array.from({ length: 256 }, () => ({})),
  evalSamples: 4,
  args: {
    outputDir: join(dir, 'run'), seed, maxSteps: Number(flags.steps), perDeviceTrainBatchSize: 256, numGenerations: 16, maxCompletionLength: 12, maxTurns: guesses, maxTurnTokens: 1,
    learningRate: 2e-3, lrSchedulerType: 'linear', adamBeta2: 0.95, loggingSteps: 20, saveStrategy: 'no',
  },
  callbacks: [{
    onLog({ step }, metrics) {
      if ('turns/mean' in metrics) console.log(`step ${step}: won ${metrics['rewards/guess/won/mean']?.toFixed(3)}, ${metrics['turns/mean'].toFixed(2)} guesses a game`);
    },
  }],
});
try {
  const before = await trainer.evaluate();
  console.log(`before: won ${before.reward.toFixed(3)} of ${before.completions} games`);
  const { trainSeconds } = await trainer.train();
  const after = await trainer.evaluate();
  console.log(`after ${flags.steps} steps (${trainSeconds.toFixed(0)} s): won ${after.reward.toFixed(3)} of ${after.completions} games, ${after.meanTurns!.toFixed(2)} guesses a game${flags.blind ? '; nobody can win more than 3 in 7 without being told' : ''}`);
  for (const { completion, reward } of after.examples.slice(0, 4)) console.log(`  ${completion.replace(/\n\[user\] /g, ' ').replaceAll('\n', ' ')} → ${reward}`);
  await trainer.saveModel(join(dir, 'model'));
} finally {
  await trainer.close();
}
