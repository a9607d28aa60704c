import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openEngine, type Engine } from '@espalier/engine';
import { openCheckpoint, openSafetensors, parameterSpecs, saveCheckpoint, toHf, withHeadOf, withScalarHead, type SafetensorsFile } from '@espalier/models';
import { rewardObjective } from './objective';
import { packPairs, tokenizePair, type RewardExample } from './pairs';
import { tokenizing } from './tokenizing';

interface Case {
  rows: Record<string, unknown>[];
  options: { center_rewards_coefficient?: number };
  chosen_ids: number[][];
  rejected_ids: number[][];
  pad: number;
  loss: number;
  rewards: number[];
  trajectory: number[];
}

// Made by tools/fixtures/make-reward-fixtures.py
const path = (name: string) => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));
const model = (name: string) => fileURLToPath(new URL(`../../models/fixtures/${name}`, import.meta.url));
const { cases, tokens } = JSON.parse(readFileSync(path('reward-step.json'), 'utf8')) as { cases: Record<string, Case>; tokens: Record<string, Pick<Case, 'rows' | 'chosen_ids' | 'rejected_ids'>> };
const models: Record<string, string> = { plain: 'scalar-head/checkpoint', options: 'scalar-head/checkpoint', padded: 'smollm2', gpt2: 'gpt2', qwen3: 'qwen3' };

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'espalier-reward-parity-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The checkpoint, with the fixture's head where it has none of its own. */
async function modelOf(name: string, expected: SafetensorsFile): Promise<string> {
  if (!expected.tensors.has('score.weight')) return model(models[name]);
  const checkpoint = await openCheckpoint(model(models[name]));
  const { config, weights } = withScalarHead(checkpoint.config, checkpoint, 0);
  const given = { tensors: weights.tensors, read: (tensor: string, into?: Float32Array) => (tensor === 'score.weight' ? expected.read(tensor, into) : weights.read(tensor, into)) };
  const dir = join(folder, `model-${name}`);
  saveCheckpoint(dir, { weights: given, configJson: withHeadOf(checkpoint.configJson, config), tokenizer: checkpoint.tokenizer });
  checkpoint.close();
  return dir;
}

function examplesOf({ rows }: Pick<Case, 'rows'>, engine: Engine, padTokenId?: number): RewardExample[] {
  const { tokenizer, maxLength } = tokenizing(engine, 1024);
  return rows.map((row) => tokenizePair(row, padTokenId === undefined ? tokenizer : { ...tokenizer, padTokenId }, { maxLength })!);
}

describe.each(Object.keys(cases))("TRL's RewardTrainer: %s", (name) => {
  const expected = cases[name];
  const objective = rewardObjective({ centerRewardsCoefficient: expected.options.center_rewards_coefficient ?? null });

  it('one step has its tokens, rewards, loss and the gradient of every parameter; 20 steps stay on its path', async () => {
    const numbers = openSafetensors(path(`reward-step-${name}.safetensors`));
    const engine = await openEngine({ model: await modelOf(name, numbers), inline: true, precision: 'fp32' });
    const examples = examplesOf(expected, engine, expected.pad);
    expect(examples.map(({ chosen }) => [...chosen])).toEqual(expected.chosen_ids);
    expect(examples.map(({ rejected }) => [...rejected])).toEqual(expected.rejected_ids);
    // Where padding ends a sequence too, transformers reads the token before the end.
    for (const { chosen, chosenAt } of examples) expect(chosenAt).toBe(chosen.length - (expected.pad === 2 ? 2 : 1));
    const batch = packPairs(examples.slice(0, 4));
    const scores = [...(await engine.learner.forward(batch, ['scores'])).scores!];
    const rewards = [...scores.filter((_, i) => i % 2 === 0), ...scores.filter((_, i) => i % 2 === 1)]; // the chosen ones, then the rejected ones
    rewards.forEach((reward, i) => expect(Math.abs(reward - expected.rewards[i])).toBeLessThan(1e-5 * Math.max(1, Math.abs(expected.rewards[i]))));

    const dir = join(folder, name);
    mkdirSync(dir);
    await engine.learner.save(dir); // where 20 steps start from
    const { loss } = await engine.learner.forwardBackward(batch, objective);
    expect(Math.abs(loss - expected.loss) / expected.loss).toBeLessThan(1e-5);
    await engine.learner.optimStep({ learningRate: 0, adamBeta1: 0 }); // without a memory, Adam's first moment is the gradient
    const stepped = join(folder, `${name}-stepped`);
    mkdirSync(stepped);
    await engine.learner.save(stepped);
    const moments = openSafetensors(join(stepped, 'optimizer.safetensors'));
    const specs = new Map(parameterSpecs(engine.info.config).map((spec) => [spec.name, spec]));
    const names = [...numbers.tensors.keys()].filter((key) => key.startsWith('grad.')).map((key) => key.slice('grad.'.length)); // prettier-ignore
    for (const parameter of [...specs.keys()].filter((key) => key !== 'lm_head.weight')) expect(names).toContain(parameter);
    for (const parameter of names) {
      const [ours, theirs] = [toHf(specs.get(parameter)!, moments.read(`m.${parameter}`)), numbers.read(`grad.${parameter}`)];
      expect(ours).toHaveLength(theirs.length);
      for (let i = 0; i < ours.length; i++) expect(Math.abs(ours[i] - theirs[i]), `${parameter}[${i}]`).toBeLessThan(1e-4 * Math.max(1, Math.abs(theirs[i])));
      const norm = (values: Float32Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
      expect(norm(ours.map((x, i) => x - theirs[i])), parameter).toBeLessThanOrEqual(1e-4 * norm(theirs) + 1e-7);
    }
    moments.close();
    numbers.close();

    await engine.learner.load(dir);
    for (const [i, wanted] of expected.trajectory.entries()) {
      const { loss } = await engine.learner.forwardBackward(packPairs(i % 2 === 0 ? examples.slice(0, 4) : examples.slice(4)), objective);
      expect(Math.abs(loss - wanted), `step ${i}`).toBeLessThan(1e-3 * Math.max(1, Math.abs(wanted)));
      await engine.learner.optimStep({ learningRate: 3e-3, weightDecay: 0.01, maxGradNorm: 1 });
    }
    await engine.close();
  });
});

it("makes TRL's tokens of conversations, and of rows without a prompt column", async () => {
  const engine = await openEngine({ model: model('scalar-head/checkpoint'), inline: true });
  expect(Object.keys(tokens)).toEqual(['messages', 'implicit', 'implicit_text']);
  for (const expected of Object.values(tokens)) {
    const examples = examplesOf(expected, engine);
    expect(examples.map(({ chosen }) => [...chosen])).toEqual(expected.chosen_ids);
    expect(examples.map(({ rejected }) => [...rejected])).toEqual(expected.rejected_ids);
  }
  await engine.close();
});
