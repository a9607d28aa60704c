import { cpSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openEngine, type Engine } from '@espalier/engine';
import { openSafetensors, writeSafetensors } from '@espalier/models';
import type { Learner, ScoredTrajectory, TokenBatch } from '@espalier/spec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ppo } from './algorithm';

interface Case {
  options: { num_ppo_epochs: number; kl_coef?: number; kl_estimator?: 'k1' | 'k3'; whiten_rewards?: boolean; missing_eos_penalty?: number; vf_coef?: number };
  learning_rate: number;
  queries: number[][];
  responses: number[][];
  lengths: number[];
  eos: boolean[];
  scores: number[];
  ref_logps: number[][];
  score_weight: number[][];
  experience: Record<'advantages' | 'returns' | 'values', number[][]>;
  losses: number[];
  pg_losses: number[];
  vf_losses: number[];
  grad_norms: [number, number][];
  first_grads: Record<string, number>;
  after: { logps: number[][]; values: number[][] };
  metrics: Record<string, number>;
}

// Made by tools/fixtures/make-ppo-fixtures.py: lines of TRL 1.9.0 on two tiny models in fp32
const { cases } = JSON.parse(readFileSync(new URL('../fixtures/update-trl-1.9.0.json', import.meta.url), 'utf8')) as { cases: Case[] };
const llama = fileURLToPath(new URL('../../models/fixtures/llama', import.meta.url));
let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-ppo-parity-'));
});
afterAll(async () => rm(dir, { recursive: true, force: true }));

/** The trunk of the policy with the given score head. */
async function critic(name: string, score: number[][]): Promise<Engine> {
  const folder = join(dir, name);
  cpSync(llama, folder, { recursive: true });
  const source = openSafetensors(join(llama, 'model.safetensors'));
  const tensors = [...source.tensors].map(([tensor, { shape }]) => ({ name: tensor, shape: [...shape], data: () => Float32Array.from(source.read(tensor)) }));
  writeSafetensors(join(folder, 'model.safetensors'), [...tensors, { name: 'score.weight', shape: [1, score[0].length], data: () => Float32Array.from(score[0]) }], { metadata: { format: 'pt' } });
  source.close();
  return openEngine({ model: folder, inline: true, precision: 'fp32', scalarHead: true });
}

/** Norm of the gradient of each parameter at the first step: Adam's first moment is a tenth of it. */
async function firstGradients(learner: Learner, name: string): Promise<Map<string, number>> {
  const folder = join(dir, name);
  await mkdir(folder);
  await learner.save(folder);
  const file = openSafetensors(join(folder, 'optimizer.safetensors'));
  const norms = new Map([...file.tensors.keys()].filter((key) => key.startsWith('m.')).map((key) => [key.slice(2), Math.sqrt(file.read(key).reduce((sum: number, m: number) => sum + (10 * m) ** 2, 0))] as const));
  file.close();
  return norms;
}

const near = (value: number, expected: number, relative: number, what: string) => expect(Math.abs(value - expected), `${what}: ${value} for ${expected}`).toBeLessThanOrEqual(relative * Math.max(Math.abs(expected), 1e-2));

describe('a whole update is TRL 1.9.0\'s', () => {
  it.each(cases.map((c, i) => [i, JSON.stringify(c.options), c] as const))('%i: %s', async (i, _name, c) => {
    const policy = await openEngine({ model: llama, inline: true, precision: 'fp32' });
    const values = await critic(`critic-${i}`, c.score_weight);
    const { options: o } = c;
    const algorithm = ppo(
      { numPpoEpochs: o.num_ppo_epochs, klCoef: o.kl_coef, klEstimator: o.kl_estimator, whitenRewards: o.whiten_rewards, missingEosPenalty: o.missing_eos_penalty, vfCoef: o.vf_coef },
      { critic: values.learner },
    );
    const groups = c.queries.map((query, r): ScoredTrajectory[] => {
      const tokens = Int32Array.from([...query, ...c.responses[r].slice(0, c.lengths[r])]);
      return [{ id: String(r), group: String(r), seed: 0, tokens, trainable: Uint8Array.from(tokens, (_, t) => Number(t >= query.length)), samplerLogps: null, versions: [], turns: [], finishReason: c.eos[r] ? 'stop' : 'length', rewards: { score: c.scores[r] } }];
    });
    const ragged = (table: number[][]) => Float32Array.from(c.lengths.flatMap((length, r) => table[r].slice(0, length)));
    const learner: Learner = Object.assign(Object.create(policy.learner) as Learner, {
      forward: (batch: TokenBatch, needs: readonly 'logps'[], options?: { reference?: boolean }) => (options?.reference ? Promise.resolve({ logps: ragged(c.ref_logps) }) : policy.learner.forward(batch, needs, options)),
    });
    const temperature = 0.7 + 1e-7; // as TRL divides
    const { batch, metrics } = await algorithm.experience(groups, { step: 0, learner, rewardWeights: {}, maxCompletionLength: c.responses[0].length, temperature });
    ragged(c.experience.advantages).forEach((v, a) => near(batch.columns.advantages[a], v, 1e-4, `advantages[${a}]`));
    ragged(c.experience.returns).forEach((v, a) => near(batch.columns.returns[a], v, 1e-4, `returns[${a}]`));
    for (const name of ['objective/kl', 'objective/non_score_reward', 'objective/rlhf_reward', 'objective/scores']) near(metrics[name], c.metrics[name], 1e-4, name);

    const update = algorithm.step!(batch, { objective: algorithm.objective, temperature, microBatchSize: 4, seed: 0 });
    for (const [epoch, parts] of [update.parts, ...update.further!].entries()) {
      let loss = 0;
      for (const part of parts) {
        const result = await (part.learner ? values : policy).learner.forwardBackward(part.batch, part.objective, { temperature: part.temperature });
        loss += result.loss;
        const metric = (name: string) => result.metrics[name].sum / result.metrics[name].weight;
        if (part.learner) near(metric('loss/value_avg'), c.vf_losses[epoch], epoch === 0 ? 1e-5 : 1e-3, `value loss, epoch ${epoch}`);
        else near(metric('loss/policy_avg'), c.pg_losses[epoch], 1e-3, `policy loss, epoch ${epoch}`);
      }
      near(loss, c.losses[epoch], 1e-3, `loss, epoch ${epoch}`);
      for (const [k, engine] of [policy, values].entries()) near((await engine.learner.optimStep({ learningRate: c.learning_rate })).grad_norm, c.grad_norms[epoch][k], epoch === 0 ? 1e-4 : 1e-3, `grad_norm ${k}, epoch ${epoch}`);
      if (epoch > 0) continue;
      for (const [engine, prefix] of [[policy, 'policy'], [values, 'critic']] as const) {
        const found = await firstGradients(engine.learner, `first-${prefix}-${i}`);
        const expected = Object.entries(c.first_grads).filter(([name]) => name.startsWith(`${prefix}.`));
        expect(expected.length).toBeGreaterThan(20);
        for (const [name, norm] of expected) near(found.get(name.slice(prefix.length + 1))!, norm, 1e-4, `gradient of ${name}`);
      }
    }
    const logps = (await policy.learner.forward(batch, ['logps'], { temperature })).logps!;
    const after = await values.learner.forward(batch, ['values']);
    ragged(c.after.logps).forEach((v, a) => near(logps[a], v, 1e-3, `logps[${a}] after`));
    ragged(c.after.values).forEach((v, a) => near(after.values![a], v, 1e-3, `values[${a}] after`));
    await policy.close();
    await values.close();
  });
});
