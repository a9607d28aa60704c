import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { openEngine, type Engine } from '@espalier/engine';
import { afterEach, describe, expect, it } from 'vitest';
import { distillObjective } from './objective';
import { packSequences } from './rows';

interface Expected {
  rows: { tokens: number[]; start: number }[];
  steps: { beta: number; temperature: number; loss: number; grad_norm: number }[];
  trajectory: { beta: number; learning_rate: number; max_grad_norm: number; losses: number[] };
}

// Made by ../fixtures/steps.py: TRL 1.16.0 and torch in float32
const expected = JSON.parse(readFileSync(new URL('../fixtures/steps-trl-1.16.0.json', import.meta.url), 'utf8')) as Expected;
const batch = packSequences(expected.rows.map(({ tokens, start }) => ({ tokens: Int32Array.from(tokens), start })));
const model = (name: string) => fileURLToPath(new URL(`../../models/fixtures/${name}`, import.meta.url));
const relative = (value: number, of: number) => Math.abs(value - of) / Math.abs(of);

let engine: Engine;
const open = async () => (engine = await openEngine({ model: model('llama'), teacher: model('qwen3'), precision: 'fp32', inline: true })).learner;
afterEach(async () => engine.close());

describe('TRL 1.16.0 and torch on tiny checkpoints', () => {
  it.each(expected.steps)('one step: beta $beta, temperature $temperature', async ({ beta, temperature, loss, grad_norm }) => {
    const learner = await open();
    const found = await learner.forwardBackward(batch, distillObjective({ beta, temperature }));
    expect(relative(found.loss, loss)).toBeLessThan(1e-5);
    expect(relative((await learner.optimStep({ learningRate: 0 })).grad_norm, grad_norm)).toBeLessThan(1e-4);
  });

  it('twenty steps', async () => {
    const learner = await open();
    const { beta, learning_rate: learningRate, max_grad_norm: maxGradNorm, losses } = expected.trajectory;
    for (const loss of losses) {
      expect(relative((await learner.forwardBackward(batch, distillObjective({ beta }))).loss, loss)).toBeLessThan(1e-3);
      await learner.optimStep({ learningRate, maxGradNorm });
    }
    expect(losses.at(-1)).toBeLessThan(losses[0]);
  });
});
