import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Learner } from '@espalier/spec';
import { testBackend } from '@espalier/tensor/testing';
import { continuationLogps } from './continuation-logps';
import { openEngine, type Engine } from './engine';
import { fixture } from './test-support';

let engine: Engine;
beforeAll(async () => {
  engine = await openEngine({ model: fixture('smollm2'), backend: testBackend(), inline: true });
});
afterAll(() => engine.close());

it('gives each continuation what the whole sequence gives it', async () => {
  const prompts = [Int32Array.of(5, 6, 7, 8), Int32Array.of(9)];
  const continuations = [[Int32Array.of(10), Int32Array.of(11, 12, 13)], [Int32Array.of(14, 15), Int32Array.of(16)]];
  const together = await continuationLogps(engine.learner, prompts.map((prompt, q) => ({ prompt, continuations: continuations[q] })));
  for (const [q, prompt] of prompts.entries())
    for (const [k, continuation] of continuations[q].entries()) {
      const [whole] = await engine.score([Int32Array.from([...prompt, ...continuation])]);
      const expected = whole.subarray(prompt.length).reduce((sum, logp) => sum + logp, 0);
      expect(Math.abs(together[q][k] - expected)).toBeLessThan(1e-4);
    }
});

it('computes a beginning that prompts share once, to the same log-probs', async () => {
  const shared = Array.from({ length: 80 }, (_, i) => 5 + ((i * 7) % 50));
  const tails = [[60, 61], [62], [60, 63, 64]];
  const questions = [...tails.map((tail) => ({ prompt: Int32Array.from([...shared, ...tail]), continuations: [Int32Array.of(10), Int32Array.of(11, 12)] })), { prompt: Int32Array.of(9, 8), continuations: [Int32Array.of(10)] }, { prompt: Int32Array.from(shared), continuations: [] }];
  const sizes: number[] = [];
  const counting: Learner = Object.assign(Object.create(engine.learner) as Learner, {
    forward: (...args: Parameters<Learner['forward']>) => {
      sizes.push(args[0].tokens.length);
      return engine.learner.forward(...args);
    },
  });
  const together = await continuationLogps(counting, questions);
  expect(sizes).toEqual([80 + 2 * (2 + 1 + 3) + 3 * 3 + 2 + 1]);
  const apart = await Promise.all(questions.map((question) => continuationLogps(engine.learner, [question])));
  together.forEach((logps, q) => logps.forEach((logp, k) => expect(Math.abs(logp - apart[q][0][k])).toBeLessThan(1e-5)));
});

it('refuses what has no tokens', async () => {
  await expect(continuationLogps(engine.learner, [{ prompt: Int32Array.of(1), continuations: [new Int32Array(0)] }])).rejects.toMatchObject({ code: 'bad_data', message: expect.stringContaining('continuation 0 of prompt 0') as string });
  await expect(continuationLogps(engine.learner, [{ prompt: Int32Array.of(1), continuations: [] }])).resolves.toEqual([[]]);
});
