import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openEngine, type Engine } from '@espalier/engine';
import { openCheckpoint, openSafetensors, saveCheckpoint } from '@espalier/models';
import { prmObjective } from './objective';
import { packSteps, tokenizeSteps, type TokenizeStepsOptions } from './steps';
import { tokenizing } from './tokenizing';

interface Tokenized {
  options: { step_separator: string; max_length: number | null; max_completion_length: number | null; train_on_last_step_only: boolean };
  rows: { input_ids: number[]; labels: number[] }[];
}

// Made by tools/fixtures/make-prm-fixture.py with TRL 1.9.0
const path = (name: string) => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));
const tiny = fileURLToPath(new URL('../../models/fixtures/scalar-head/checkpoint', import.meta.url));
const expected = JSON.parse(readFileSync(path('prm-step.json'), 'utf8')) as { rows: Record<string, unknown>[]; tokenized: Tokenized[]; loss: number };
const numbers = openSafetensors(path('prm-step.safetensors'));

let folder: string;
let engine: Engine;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'espalier-prm-parity-'));
  // Of two logits only the difference counts: w₁ − w₀ is the scalar head.
  const both = numbers.read('score.weight');
  const width = both.length / 2;
  const head = Float32Array.from({ length: width }, (_, i) => both[width + i] - both[i]);
  const checkpoint = await openCheckpoint(tiny);
  const weights = { tensors: checkpoint.tensors, read: (name: string, into?: Float32Array) => (name === 'score.weight' ? head : checkpoint.read(name, into)) };
  saveCheckpoint(join(folder, 'model'), { weights, configJson: checkpoint.configJson, tokenizer: checkpoint.tokenizer });
  checkpoint.close();
  engine = await openEngine({ model: join(folder, 'model'), inline: true, precision: 'fp32' });
});
afterAll(async () => {
  await engine.close();
  numbers.close();
  rmSync(folder, { recursive: true, force: true });
});

const optionsOf = ({ options }: Tokenized): TokenizeStepsOptions => ({ stepSeparator: options.step_separator, maxLength: options.max_length, maxCompletionLength: options.max_completion_length, trainOnLastStepOnly: options.train_on_last_step_only });

describe("TRL's PRMTrainer", () => {
  it.each(expected.tokenized.map((tokenized, i) => [i, tokenized] as const))('makes the tokens and labels that it makes: options %i', (_, tokenized) => {
    const { tokenizer } = tokenizing(engine, null);
    expected.rows.forEach((row, r) => {
      const found = tokenizeSteps(row, tokenizer, optionsOf(tokenized));
      const { input_ids, labels } = tokenized.rows[r];
      const at = [...labels.keys()].filter((t) => labels[t] !== -100);
      if (at.length === 0) return expect(found).toBeNull();
      expect([...found!.tokens]).toEqual(input_ids);
      expect([...found!.ends]).toEqual(at);
      expect([...found!.labels]).toEqual(at.map((t) => labels[t]));
    });
  });

  it('has the loss of two labels and the gradient of every parameter', async () => {
    const { tokenizer } = tokenizing(engine, null);
    const batch = packSteps(expected.rows.map((row) => tokenizeSteps(row, tokenizer, optionsOf(expected.tokenized[0]))!));
    const { loss } = await engine.learner.forwardBackward(batch, prmObjective());
    expect(Math.abs(loss - expected.loss) / expected.loss).toBeLessThan(1e-5);
    await engine.learner.optimStep({ learningRate: 0, adamBeta1: 0 }); // Adam's first moment is the gradient
    const dir = join(folder, 'stepped');
    mkdirSync(dir);
    await engine.learner.save(dir);
    const moments = openSafetensors(join(dir, 'optimizer.safetensors'));
    const names = [...moments.tensors.keys()].filter((key) => key.startsWith('m.')).map((key) => key.slice(2)); // prettier-ignore
    expect(names.length).toBe([...numbers.tensors.keys()].filter((key) => key.startsWith('grad.')).length - 1); // all but the head's bias
    for (const name of names) {
      const theirs = numbers.read(`grad.${name}`);
      const ours = moments.read(`m.${name}`);
      const wanted = name === 'score.weight' ? theirs.slice(ours.length) : theirs; // by w₁; by w₀ it is the opposite
      ours.forEach((g, i) => expect(Math.abs(g - wanted[i]), `${name}[${i}]`).toBeLessThan(1e-4 * Math.max(1, Math.abs(wanted[i]))));
    }
    moments.close();
  });
});
