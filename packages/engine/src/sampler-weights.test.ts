import { afterEach, describe, expect, it } from 'vitest';
import { probeBackends } from '@espalier/tensor';
import { openEngine, type Engine, type EngineOptions } from './engine';
import { localRolloutEngine } from './local-rollout-engine';
import { fixture, generateAll, groupBatch, weightedNll } from './test-support';

const native = (await probeBackends()).some(({ name, available }) => name === 'native' && available);
if (!native) console.warn('not checked here: the Rust kernels are missing');

const opened: Engine[] = [];
async function open(options: Partial<EngineOptions> = {}): Promise<Engine> {
  const engine = await openEngine({ model: fixture('smollm2'), backend: 'native', inline: true, ...options });
  opened.push(engine);
  return engine;
}
afterEach(async () => {
  for (const engine of opened.splice(0)) await engine.close();
});

const prompt = Int32Array.from({ length: 20 }, (_, i) => 10 + ((i * 37) % 200));
const request = { id: 'a', prompt, seed: 1, n: 8, sampling: { maxNewTokens: 16, ignoreEos: true } };
const lora = { rank: 4, alpha: 8 };

/** Mean |Δ log-prob| of what was sampled, against the learner's. */
async function mismatch(engine: Engine): Promise<number> {
  const completions = [...(await generateAll(engine, [request])).values()];
  const scored = await engine.score(completions.map(({ tokens }) => Int32Array.from([...prompt, ...tokens])));
  const differences = completions.flatMap(({ logps }, i) => Array.from(logps!, (logp, t) => Math.abs(logp - scored[i][prompt.length + t])));
  return differences.reduce((sum, difference) => sum + difference, 0) / differences.length;
}

describe.skipIf(!native)('samplerWeights int8', () => {
  it.each([['all weights', {}], ['an adapter', { lora }]])('samples from the rounded model (%s)', async (_, options) => {
    const exact = await mismatch(await open({ precision: 'fp32', ...options }));
    const rounded = await mismatch(await open({ precision: 'fp32', samplerWeights: 'int8', ...options }));
    expect(exact).toBeLessThan(1e-5);
    expect(rounded).toBeGreaterThan(1e-4); // else it is not in use
    expect(rounded).toBeLessThan(0.05);
  });

  it('follows the learner, and leaves its training alone', async () => {
    const batch = groupBatch({ prompts: 2, samples: 3 });
    const train = async (engine: Engine, between: () => Promise<unknown>) => {
      const losses: number[] = [];
      for (let step = 0; step < 3; step++) {
        losses.push((await engine.learner.forwardBackward(batch, weightedNll('sequence'))).loss);
        await engine.learner.optimStep({ learningRate: 1e-2 });
        await between();
      }
      return losses;
    };
    const engine = await open({ samplerWeights: 'int8' });
    const logps: number[] = [];
    const losses = await train(engine, async () => logps.push((await generateAll(engine, [request])).get('a/0')!.logps![0]));
    expect(new Set(logps).size).toBe(3);
    expect(losses).toEqual(await train(await open(), async () => undefined));
    expect(await mismatch(engine)).toBeLessThan(0.1);
  });

  it('gives a sample the same tokens in any batch', async () => {
    const engine = await open({ samplerWeights: 'int8' });
    const together = await generateAll(engine, [request]);
    const alone = await open({ samplerWeights: 'int8', maxBatchSize: 1 });
    const byOne = await generateAll(alone, [request]);
    for (const [name, { tokens, logps }] of byOne) {
      const other = together.get(name)!;
      expect([...other.tokens]).toEqual([...tokens]);
      expect([...other.logps!]).toEqual([...logps!]);
    }
  });

  it('is known to who trains on its samples', async () => {
    expect(localRolloutEngine(await open({ samplerWeights: 'int8' })).capabilities).toMatchObject({ sync: 'memory', rounded: true });
    expect(localRolloutEngine(await open()).capabilities).not.toHaveProperty('rounded');
  });

  it('is refused where there are no kernels for it', async () => {
    await expect(open({ backend: 'cpu', samplerWeights: 'int8' })).rejects.toMatchObject({ code: 'unsupported', message: expect.stringContaining('the backend native') });
  });
});
