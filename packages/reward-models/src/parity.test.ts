import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openEngine, type Engine } from '@espalier/engine';
import { openSafetensors } from '@espalier/models';
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
  trajectory?: number[];
}

// Made by tools/fixtures/make-reward-fixtures.py
const path = (name: string) => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));
const model = (name: string) => fileURLToPath(new URL(`../../models/fixtures/${name}`, import.meta.url));
const { cases, tokens } = JSON.parse(readFileSync(path('reward-step.json'), 'utf8')) as { cases: Record<'plain' | 'options' | 'padded', Case>; tokens: Record<string, Pick<Case, 'rows' | 'chosen_ids' | 'rejected_ids'>> };
const gradients = openSafetensors(path('reward-step.safetensors'));

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'espalier-reward-parity-'));
});
afterAll(() => {
  gradients.close();
  rmSync(folder, { recursive: true, force: true });
});

function examplesOf({ rows }: Case, engine: Engine, padTokenId?: number): RewardExample[] {
  const { tokenizer, maxLength } = tokenizing(engine, 1024);
  return rows.map((row) => tokenizePair(row, padTokenId === undefined ? tokenizer : { ...tokenizer, padTokenId }, { maxLength })!);
}

/** As TRL has them: the chosen ones, then the rejected ones. */
async function rewardsOf(engine: Engine, examples: readonly RewardExample[]): Promise<number[]> {
  const scores = [...(await engine.learner.forward(packPairs(examples), ['scores'])).scores!];
  return [...scores.filter((_, i) => i % 2 === 0), ...scores.filter((_, i) => i % 2 === 1)];
}

const relative = (actual: number, wanted: number) => Math.abs(actual - wanted) / Math.max(Math.abs(wanted), 1e-3);

describe.each(['plain', 'options'] as const)("one step of TRL's RewardTrainer: %s", (name) => {
  const expected = cases[name];
  const objective = rewardObjective({ centerRewardsCoefficient: expected.options.center_rewards_coefficient ?? null });
  const open = () => openEngine({ model: model('scalar-head/checkpoint'), inline: true, precision: 'fp32' });

  it('has its tokens, rewards, loss and the gradient of every parameter', async () => {
    const engine = await open();
    const examples = examplesOf(expected, engine);
    expect(examples.map(({ chosen }) => [...chosen])).toEqual(expected.chosen_ids);
    expect(examples.map(({ rejected }) => [...rejected])).toEqual(expected.rejected_ids);
    (await rewardsOf(engine, examples.slice(0, 4))).forEach((reward, i) => expect(Math.abs(reward - expected.rewards[i])).toBeLessThan(1e-5));
    const { loss } = await engine.learner.forwardBackward(packPairs(examples.slice(0, 4)), objective);
    expect(relative(loss, expected.loss)).toBeLessThan(1e-5);
    // Without a momentum's memory, Adam's first moment is the gradient.
    await engine.learner.optimStep({ learningRate: 0, adamBeta1: 0 });
    const dir = join(folder, name);
    mkdirSync(dir);
    await engine.learner.save(dir);
    await engine.close();
    const moments = openSafetensors(join(dir, 'optimizer.safetensors'));
    const names = [...gradients.tensors.keys()].filter((key) => key.startsWith(`${name}.`)).map((key) => key.slice(name.length + 1));
    expect([...moments.tensors.keys()].filter((key) => key.startsWith('m.')).map((key) => key.slice(2)).sort()).toEqual(names.sort()); // prettier-ignore
    for (const parameter of names) {
      const [ours, theirs] = [moments.read(`m.${parameter}`), gradients.read(`${name}.${parameter}`)];
      expect(ours).toHaveLength(theirs.length);
      for (let i = 0; i < ours.length; i++) expect(Math.abs(ours[i] - theirs[i]), `${parameter}[${i}]`).toBeLessThan(1e-4 * Math.max(1, Math.abs(theirs[i])));
      const norm = (values: Float32Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
      expect(norm(ours.map((x, i) => x - theirs[i])), parameter).toBeLessThan(1e-4 * norm(theirs));
    }
    moments.close();
  });

  it('stays on its path for 20 steps', async () => {
    const engine = await open();
    const examples = examplesOf(expected, engine);
    for (const [i, wanted] of expected.trajectory!.entries()) {
      const { loss } = await engine.learner.forwardBackward(packPairs(i % 2 === 0 ? examples.slice(0, 4) : examples.slice(4)), objective);
      expect(Math.abs(loss - wanted), `step ${i}`).toBeLessThan(1e-3 * Math.max(1, Math.abs(wanted)));
      await engine.learner.optimStep({ learningRate: 3e-3, weightDecay: 0.01, maxGradNorm: 1 });
    }
    await engine.close();
  });
});

it("makes TRL's tokens of conversations, and of rows without a prompt column", async () => {
  const engine = await openEngine({ model: model('scalar-head/checkpoint'), inline: true });
  const { tokenizer, maxLength } = tokenizing(engine, 1024);
  expect(Object.keys(tokens)).toEqual(['messages', 'implicit', 'implicit_text']);
  for (const { rows, chosen_ids, rejected_ids } of Object.values(tokens)) {
    const examples = rows.map((row) => tokenizePair(row, tokenizer, { maxLength })!);
    expect(examples.map(({ chosen }) => [...chosen])).toEqual(chosen_ids);
    expect(examples.map(({ rejected }) => [...rejected])).toEqual(rejected_ids);
  }
  await engine.close();
});

it('reads the score at the end of the sequence where padding is another token, as TRL does', async () => {
  const { padded } = cases;
  const engine = await openEngine({ model: model('smollm2'), inline: true, precision: 'fp32', scalarHead: true });
  const examples = examplesOf(padded, engine, padded.pad);
  expect(examples.map(({ chosen }) => [...chosen])).toEqual(padded.chosen_ids);
  expect(examples.every(({ chosen, chosenAt }) => chosenAt === chosen.length - 1 && chosen[chosenAt] === 2)).toBe(true);
  // The head's weights are those of the fixture: a folder with them is loaded.
  const dir = join(folder, 'with-head');
  mkdirSync(dir);
  await engine.learner.save(dir);
  await engine.close();
  const { openCheckpoint, saveCheckpoint } = await import('@espalier/models');
  const checkpoint = await openCheckpoint(dir);
  const weights = { tensors: checkpoint.tensors, read: (tensor: string, into?: Float32Array) => (tensor === 'score.weight' ? gradients.read('padded.score.weight') : checkpoint.read(tensor, into)) };
  saveCheckpoint(join(folder, 'replaced'), { weights, configJson: checkpoint.configJson, tokenizer: checkpoint.tokenizer });
  checkpoint.close();
  const again = await openEngine({ model: join(folder, 'replaced'), inline: true, precision: 'fp32' });
  (await rewardsOf(again, examples.slice(0, 4))).forEach((reward, i) => expect(Math.abs(reward - padded.rewards[i])).toBeLessThan(1e-5 * Math.max(1, Math.abs(padded.rewards[i]))));
  await again.close();
});
