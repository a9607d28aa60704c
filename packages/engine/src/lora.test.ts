import { parameterSpecs, projectionSpecs } from '@espalier/models';
import { selectBackend } from '@espalier/tensor';
import { testBackend, testBackends } from '@espalier/tensor/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { openEngine, type Engine, type EngineOptions } from './engine';
import { EngineModel } from './engine-model';
import type { OpenParams } from './protocol';
import { fixture, generateAll, groupBatch, weightedNll } from './test-support';

const backends = await testBackends('cpu', 'native');

const batch = groupBatch({ prompts: 2, samples: 2 });
const lora = { rank: 4, alpha: 8, targets: 'all-linear' } as const;
const opened: Engine[] = [];
const open = async (options: Partial<EngineOptions>) => {
  const engine = await openEngine({ model: fixture('llama'), inline: true, ...options });
  opened.push(engine);
  return engine;
};
afterEach(async () => {
  for (const engine of opened.splice(0)) await engine.close();
});

async function train(engine: Engine, steps = 2): Promise<void> {
  for (let i = 0; i < steps; i++) {
    await engine.learner.forwardBackward(batch, weightedNll());
    await engine.learner.optimStep({ learningRate: 0.05 });
  }
}

describe.each(backends)('LoRA on %s', (backend) => {
  it('keeps gradients and optimiser state for its own matrices alone, to the byte', async () => {
    const engine = await open({ backend, lora });
    const { parameterCount, trainableCount, config } = engine.info;
    const rank = lora.rank;
    expect(parameterCount).toBe(parameterSpecs(config).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0));
    expect(trainableCount).toBe(projectionSpecs(config).reduce((sum, { inputs, outputs }) => sum + rank * (inputs + outputs), 0));
    const before = (await engine.memory()).numBytes;
    expect(before).toBe(4 * (parameterCount + trainableCount));
    await engine.learner.forwardBackward(batch, weightedNll());
    expect((await engine.memory()).numBytes - before).toBe(4 * trainableCount); // the gradient
    await engine.learner.optimStep({ learningRate: 0.01 });
    expect((await engine.memory()).numBytes - before).toBe(8 * trainableCount); // both moments; the gradient is gone
  });

  it.each(['fp32', 'bf16'] as const)('samples with the log-probs that the learner computes, after training too: %s', async (precision) => {
    const engine = await open({ backend, precision, lora });
    await train(engine);
    const prompts = [[3, 17, 60], [9, 4, 120, 33, 7]];
    const completions = await generateAll(engine, prompts.map((prompt, i) => ({ id: String(i), prompt: Int32Array.from(prompt), n: 3, seed: 5, sampling: { maxNewTokens: 6, ignoreEos: true } })));
    expect(completions.size).toBe(6);
    const differences: number[] = [];
    for (const { requestId, tokens, logps } of completions.values()) {
      const prompt = prompts[Number(requestId)];
      const [scored] = await engine.score([Int32Array.from([...prompt, ...tokens])]);
      tokens.forEach((_, t) => differences.push(Math.abs(logps![t] - scored[prompt.length + t])));
    }
    // Attention sums in another order in the two; what is rounded to bf16 after it may fall to the other side.
    expect(differences).toHaveLength(36);
    expect(differences.reduce((a, b) => a + b) / 36).toBeLessThan(precision === 'fp32' ? 1e-5 : 1e-2);
  });

  it('samples with the new adapter as soon as a step was taken, and never with that of before', async () => {
    const engine = await open({ backend, lora });
    const request = { id: 'a', prompt: Int32Array.of(3, 17, 60), seed: 1, sampling: { maxNewTokens: 8, temperature: 0, ignoreEos: true } };
    const first = (await generateAll(engine, [request])).get('a/0')!;
    await train(engine, 4);
    const later = (await generateAll(engine, [request])).get('a/0')!;
    expect(later.version).toBeGreaterThan(first.version);
    expect(later.logps).not.toEqual(first.logps);
    const [scored] = await engine.score([Int32Array.from([3, 17, 60, ...later.tokens])]);
    later.tokens.forEach((_, t) => expect(later.logps![t]).toBeCloseTo(scored[3 + t], engine.info.precision === 'fp32' ? 3 : 1));
  });
});

describe('a scalar head beside LoRA', () => {
  it('is the one other thing with optimiser state', async () => {
    await selectBackend(testBackend());
    const params = { model: fixture('llama'), backend: testBackend(), lora: { rank: 2 }, scalarHead: true, reference: false, gradientCheckpointing: false, seed: 0, maxBatchSize: 4, maxCacheBytes: 2 ** 20, prefillTokens: 64, maxTokensPerMicroBatch: 64 } satisfies OpenParams;
    const model = await EngineModel.open(params);
    const part = { tokens: Int32Array.of(1, 2, 3), offsets: Int32Array.of(0, 3), prefixOf: Int32Array.of(-1), actionIndex: Int32Array.of(2) };
    const { tape } = model.training.tapeForward(part, ['scores'], 1);
    model.training.tapeBackward(tape, { scores: Float32Array.of(1) });
    model.training.optimStep({ learningRate: 0.01 });
    const names = [...model.training.moments.keys()];
    expect(names.filter((name) => !name.includes('.lora_'))).toEqual(['score.weight']);
    expect(names.every((name) => name === 'score.weight' || /\.(q_proj|v_proj)\.lora_[AB]\.weight$/.test(name))).toBe(true);
    model.dispose();
  });
});
