import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { cpoLoss, dpoLoss, dpoLossTypes, ktoLoss, orpoLoss, type CPOLossOptions, type DPOLossInputs, type DPOLossOptions, type KTOLossOptions } from './loss';

// TRL's numbers for these inputs: ../fixtures/README.md
type Golden = Record<string, number | number[] | [number, Record<string, number>]>;
const golden = JSON.parse(readFileSync(new URL('../fixtures/losses-trl-1.16.0.json', import.meta.url), 'utf8')) as Golden;
const near = (value: number, expected: number) => expect(Math.abs(value - expected), `${value} for ${expected}`).toBeLessThanOrEqual(1e-6 * Math.max(1, Math.abs(expected)));

const pair: DPOLossInputs = { chosenLogps: [-10], rejectedLogps: [-15], refChosenLogps: [-12], refRejectedLogps: [-14], chosenLengths: [4], rejectedLengths: [5] };
const three: DPOLossInputs = { chosenLogps: [-10, -8, -6], rejectedLogps: [-15, -9, -12], refChosenLogps: [-12, -7, -6.5], refRejectedLogps: [-14, -9.5, -11] };
const even: DPOLossInputs = { ...pair, chosenLogps: [[-2.5, -2.5, -2.5, -2.5]], rejectedLogps: [[-3, -3, -3, -3, -3]] };

const dpoVariants: [string, DPOLossInputs, DPOLossOptions][] = [
  ...(['sigmoid', 'hinge', 'ipo', 'nca_pair', 'bco_pair', 'sppo_hard', 'aot', 'aot_unpaired', 'apo_zero', 'apo_down', 'discopop', 'sft', 'sigmoid_norm'] as const).map((lossType): [string, DPOLossInputs, DPOLossOptions] => [`dpo/${lossType}`, pair, { lossType }]),
  ['dpo/robust eps.1', pair, { lossType: 'robust', labelSmoothing: 0.1 }],
  ['dpo/exo_pair eps.1', pair, { lossType: 'exo_pair', labelSmoothing: 0.1 }],
  ['dpo/sigmoid forward_kl', pair, { fDivergenceType: 'forward_kl' }],
  ['dpo/sigmoid js_divergence', pair, { fDivergenceType: 'js_divergence' }],
  ['dpo/sigmoid alpha_divergence', pair, { fDivergenceType: 'alpha_divergence' }],
  ['dpo/sigmoid ld_alpha .5', even, { ldAlpha: 0.5 }],
  ['dpo3/aot eps.1', three, { lossType: 'aot', labelSmoothing: 0.1 }],
  ['dpo3/aot_unpaired eps.1', three, { lossType: 'aot_unpaired', labelSmoothing: 0.1 }],
  ['dpo3/sigmoid eps.1', three, { labelSmoothing: 0.1 }],
];
const ktoVariants: [string, KTOLossOptions][] = [
  ["kto/('kto',)", {}],
  ["kto/('kto', 1.0, 2.0)", { desirableWeight: 1, undesirableWeight: 2 }],
  ["kto/('apo_zero_unpaired',)", { lossType: 'apo_zero_unpaired' }],
];
const cpoVariants: [string, CPOLossOptions][] = [
  ['cpo/sigmoid beta0.1', {}],
  ['cpo/simpo beta2.0', { lossType: 'simpo', beta: 2 }],
  ['cpo/hinge beta0.1', { lossType: 'hinge' }],
  ['cpo/ipo beta0.1', { lossType: 'ipo' }],
  ['cpo/alphapo a.25 beta2', { lossType: 'alphapo', alpha: 0.25, beta: 2 }],
];
const orpoVariant = 'orpo odds (losses,..,log_odds)';

describe('goldens of TRL 1.16.0', () => {
  it('every golden variant is covered', () => {
    expect([...dpoVariants, ...ktoVariants, ...cpoVariants].map(([name]) => name).concat(orpoVariant).sort()).toEqual(Object.keys(golden).sort());
  });

  it.each(dpoVariants)('%s', (name, inputs, options) => near(dpoLoss(inputs, { beta: 0.1, ...options }).loss, golden[name] as number));

  it.each(ktoVariants)('%s', (name, options) => {
    const { loss, metrics } = ktoLoss({ logps: [-10, -15], refLogps: [-12, -14], labels: [true, false], klLogps: [-9, -8], refKlLogps: [-9.5, -8.5] }, options);
    const [expected, logged] = golden[name] as [number, Record<string, number>];
    near(loss, expected);
    for (const key of ['kl', 'rewards/chosen', 'rewards/rejected', 'rewards/margins', 'logps/chosen', 'logps/rejected']) expect(metrics[key], key).toBeCloseTo(logged[key], 6);
  });

  it.each(cpoVariants)('%s', (name, options) => near(cpoLoss({ chosenLogps: [-0.5], rejectedLogps: [-1.2] }, options).loss, golden[name] as number));

  it(orpoVariant, () => {
    const { loss, metrics } = orpoLoss({ chosenLogps: [-0.5], rejectedLogps: [-1.2] }, { beta: 0.1 });
    const found = [-loss, metrics['rewards/chosen'], metrics['rewards/rejected'], metrics.log_odds_ratio, metrics.log_odds_chosen];
    (golden[orpoVariant] as number[]).forEach((expected, i) => near(found[i], expected));
  });
});

interface Case {
  loss_of: 'dpo' | 'kto' | 'cpo' | 'orpo';
  options: Record<string, unknown>;
  inputs: Record<string, number[][]> & { labels: boolean[]; kl_logps: number[] & number[][]; ref_kl_logps: number[] & number[][] };
  loss: number;
  grads: Record<string, number[][]>;
  metrics: Record<string, number>;
}
// Made by ../fixtures/losses.py
const cases = JSON.parse(readFileSync(new URL('../fixtures/losses-trl-more.json', import.meta.url), 'utf8')) as Case[];
const camel = (name: string) => name.replace(/_([a-z])/g, (_, c: string) => c.toUpperCase());

function run({ loss_of, options, inputs }: Case): { loss: number; grads: Record<string, number[] | number[][] | undefined>; metrics: Record<string, number> } {
  const named = Object.fromEntries(Object.entries(options).map(([name, value]) => [camel(name), value]));
  const { chosen: chosenLogps, rejected: rejectedLogps } = inputs;
  switch (loss_of) {
    case 'dpo':
      return dpoLoss({ chosenLogps, rejectedLogps, refChosenLogps: inputs.ref_chosen, refRejectedLogps: inputs.ref_rejected, chosenSumSquares: inputs.chosen_squares, rejectedSumSquares: inputs.rejected_squares }, named);
    case 'kto':
      return ktoLoss({ logps: inputs.logps, refLogps: inputs.ref_logps, labels: inputs.labels, klLogps: inputs.kl_logps, refKlLogps: inputs.ref_kl_logps }, named);
    case 'cpo':
      return cpoLoss({ chosenLogps, rejectedLogps }, named);
    case 'orpo':
      return orpoLoss({ chosenLogps, rejectedLogps, promptLogps: inputs.prompt }, named);
  }
}

describe('TRL 1.16.0 on random inputs: loss, gradients, metrics', () => {
  it.each(cases.map((c, i) => [i, c.loss_of, JSON.stringify(c.options), c] as const))('%i: %s %s', (_i, _loss, _options, c) => {
    const tolerance = c.loss_of === 'orpo' || c.options.f_divergence_type === 'alpha_divergence' ? 2e-6 : 1e-9; // those float32
    const close = (value: number, expected: number, what: string) => expect(Math.abs(value - expected), `${what}: ${value} for ${expected}`).toBeLessThanOrEqual(tolerance * Math.max(1, Math.abs(expected)));
    const found = run(c);
    close(found.loss, c.loss, 'loss');
    for (const [name, rows] of Object.entries(c.grads)) {
      const ours = found.grads[name === 'logps' ? name : `${name}Logps`] as number[][];
      rows.forEach((row, r) => row.forEach((g, t) => close(ours[r][t], g, `${name}[${r}][${t}]`)));
    }
    for (const [name, value] of Object.entries(c.metrics)) {
      if (name === 'nll_loss' && c.options.cpo_alpha === 0) continue; // TRL computes none then
      if (c.loss_of === 'kto' && name === 'kl' && c.options.loss_type !== 'kto') continue;
      expect(found.metrics[name], name).toBeCloseTo(value, 5);
    }
  });
});

const tokens: DPOLossInputs = {
  chosenLogps: [[-1.03, -2.11, -0.52], [-1.49, -0.71], [-0.3, -0.9, -2.2, -0.4]],
  rejectedLogps: [[-0.8, -1.7], [-2.49, -0.91, -0.33], [-1.3, -0.2]],
  refChosenLogps: [[-1.2, -1.9, -1.1], [-1.1, -1.02], [-0.42, -0.8, -2.1, -0.5]],
  refRejectedLogps: [[-0.9, -1.2], [-2.1, -1.1, -0.4], [-1.2, -0.35]],
};
const smoothing = (lossType: string) => (['exo_pair', 'robust', 'aot', 'aot_unpaired'].includes(lossType) ? 0.1 : 0);
const gradientCases: DPOLossOptions[] = [
  ...dpoLossTypes.flatMap((lossType): DPOLossOptions[] => [
    { lossType, labelSmoothing: smoothing(lossType) },
    { lossType, labelSmoothing: smoothing(lossType), beta: 0.7, ldAlpha: 0.4 },
    ...(['sigmoid', 'sigmoid_norm', 'hinge', 'ipo', 'exo_pair', 'robust', 'discopop', 'sft'].includes(lossType)
      ? (['forward_kl', 'js_divergence', 'alpha_divergence'] as const).map((fDivergenceType) => ({ lossType, labelSmoothing: smoothing(lossType), fDivergenceType, beta: 0.3 }))
      : []),
  ]),
  { lossType: ['sigmoid', 'sft', 'aot'], lossWeights: [0.8, 1, 0.2], labelSmoothing: 0.1 },
  { lossType: 'discopop', discopopTau: 0.6, beta: 2 },
];

/** Central differences of `f` over every number of `inputs[name]`, against `grads`. */
function checkGradient<I extends object>(f: (inputs: I) => number, inputs: I, name: keyof I, grads: number[] | number[][]): void {
  const rows = inputs[name] as number[] | number[][];
  const at = (r: number, t: number | null, h: number) => {
    const moved = rows.map((row) => (Array.isArray(row) ? [...row] : row)) as number[] & number[][];
    if (t === null) moved[r] = ((moved[r] as unknown as number) + h) as unknown as number & number[];
    else moved[r][t] += h;
    return f({ ...inputs, [name]: moved });
  };
  const check = (r: number, t: number | null, slope: number) => {
    const numeric = (at(r, t, 1e-6) - at(r, t, -1e-6)) / 2e-6;
    expect(Math.abs(slope - numeric), `${String(name)}[${r}]${t === null ? '' : `[${t}]`}: ${slope} for ${numeric}`).toBeLessThan(1e-6 * Math.max(1, Math.abs(numeric)));
  };
  grads.forEach((row, r) => (Array.isArray(row) ? row.forEach((g, t) => check(r, t, g)) : check(r, null, row)));
}

describe('gradients are those of finite differences', () => {
  it.each(gradientCases.map((options) => [JSON.stringify(options), options] as const))('dpoLoss %s', (_name, options) => {
    const { grads } = dpoLoss(tokens, options);
    for (const name of ['chosenLogps', 'rejectedLogps', 'refChosenLogps', 'refRejectedLogps'] as const) checkGradient((inputs) => dpoLoss(inputs, options).loss, tokens, name, grads[name]);
  });

  it.each(dpoLossTypes)('dpoLoss on sums: %s', (lossType) => {
    const options = { lossType, labelSmoothing: smoothing(lossType) };
    const sums = { ...three, refRejectedLogps: [-14, -9.5, -11.2], // no ties: sorting has no derivative there
      chosenLengths: [3, 2, 4], rejectedLengths: [2, 6, 5] };
    const { grads } = dpoLoss(sums, options);
    for (const name of ['chosenLogps', 'rejectedLogps', 'refChosenLogps', 'refRejectedLogps'] as const) checkGradient((inputs) => dpoLoss(inputs, options).loss, sums, name, grads[name]);
  });

  it('WPO: its weights are constants, so the reference feels the loss alone', () => {
    const weighed = { ...tokens, chosenSumSquares: [[0.5, 0.3, 0.8], [0.4, 0.6], [0.7, 0.5, 0.2, 0.6]], rejectedSumSquares: [[0.4, 0.5], [0.3, 0.2, 0.7], [0.5, 0.9]] };
    const options: DPOLossOptions = { useWeighting: true, beta: 0.4 };
    const { grads } = dpoLoss(weighed, options);
    for (const name of ['refChosenLogps', 'refRejectedLogps'] as const) checkGradient((inputs) => dpoLoss(inputs, options).loss, weighed, name, grads[name]);
  });

  it.each([{}, { desirableWeight: 1.4, undesirableWeight: 0.6, beta: 0.5 }, { lossType: 'apo_zero_unpaired' as const }])('ktoLoss %j', (options) => {
    const inputs = { logps: [[-1, -2.2], [-0.4], [-1.7, -0.6, -0.9]], refLogps: [[-1.2, -2], [-0.9], [-1.1, -0.8, -1.3]], labels: [true, false, true], klLogps: [-3, -4], refKlLogps: [-3.4, -4.1] };
    const { grads } = ktoLoss(inputs, options);
    for (const name of ['logps', 'refLogps'] as const) checkGradient((moved) => ktoLoss(moved, options).loss, inputs, name, grads[name]);
  });

  it.each([{}, { lossType: 'simpo', beta: 2, labelSmoothing: 0.1 }, { lossType: 'hinge' }, { lossType: 'ipo' }, { lossType: 'alphapo', alpha: 0.3, beta: 1.5 }, { lossType: 'sigmoid', alpha: -0.2, cpoAlpha: 0.4 }] as CPOLossOptions[])('cpoLoss %j', (options) => {
    const inputs = { chosenLogps: tokens.chosenLogps, rejectedLogps: tokens.rejectedLogps };
    const { grads } = cpoLoss(inputs, options);
    for (const name of ['chosenLogps', 'rejectedLogps'] as const) checkGradient((moved) => cpoLoss(moved, options).loss, inputs, name, grads[name]);
  });

  it('orpoLoss', () => {
    const inputs = { chosenLogps: tokens.chosenLogps, rejectedLogps: tokens.rejectedLogps, promptLogps: [[-1, -2], [-0.3], [-2.2, -1.4]] };
    const { grads } = orpoLoss(inputs, { beta: 0.4 });
    for (const name of ['chosenLogps', 'rejectedLogps', 'promptLogps'] as const) checkGradient((moved) => orpoLoss(moved, { beta: 0.4 }).loss, inputs, name, grads[name]!);
  });
});

describe('what a wrong call says', () => {
  it.each([
    [() => dpoLoss(pair, { lossType: 'sigmiod' as 'sigmoid' }), /`loss_type` "sigmiod" is unknown.*sigmoid_norm/],
    [() => dpoLoss(pair, { lossType: ['sigmoid', 'sft'], lossWeights: [1] }), /`loss_weights` has 1 entries for 2/],
    [() => dpoLoss(pair, { lossType: 'exo_pair' }), /`label_smoothing` is 0.*1e-3/],
    [() => dpoLoss(pair, { lossType: 'robust', labelSmoothing: 0.5 }), /divides by/],
    [() => dpoLoss(pair, { lossType: 'apo_zero', fDivergenceType: 'forward_kl' }), /forward_kl has no form for `loss_type` apo_zero/],
    [() => dpoLoss(tokens, { lossType: 'aot', useWeighting: true }), /`use_weighting` weighs pairs/],
    [() => dpoLoss(pair, { ldAlpha: 0.5 }), /`ld_alpha` looks at tokens/],
    [() => dpoLoss(tokens, { useWeighting: true }), /`chosenSumSquares`/],
    [() => dpoLoss(three, { lossType: 'ipo' }), /chosenLengths/],
    [() => dpoLoss({ ...pair, refChosenLogps: [NaN] }), /`refChosenLogps`\[0\] is NaN/],
    [() => dpoLoss({ ...pair, rejectedLogps: [-1, -2] }), /`rejectedLogps` has 2 entries, 1 were expected/],
    [() => ktoLoss({ logps: [-1], refLogps: [-1], labels: [true] }), /needs `klLogps`/],
    [() => cpoLoss({ chosenLogps: [-1], rejectedLogps: [-2], chosenLengths: [2] }), /`rejectedLengths` is missing/],
    [() => orpoLoss({ chosenLogps: [0.5], rejectedLogps: [-2] }), /mean log-prob of chosen completion 0 is 0.5/],
  ])('%#', (call, message) => expect(call).toThrow(message));

  it('a certain completion has large odds, not infinite ones', () => {
    const { loss, grads } = orpoLoss({ chosenLogps: [0], rejectedLogps: [-2] });
    expect(Number.isFinite(loss)).toBe(true);
    expect([grads.chosenLogps, grads.rejectedLogps].flat(2).every(Number.isFinite)).toBe(true);
  });
});

it('./loss imports the mathematics and the contracts, and nothing that loads a tensor library', () => {
  const seen = new Set<string>();
  const packages = new Set<string>();
  const visit = (file: string) => {
    if (seen.has(file)) return;
    seen.add(file);
    for (const [, from] of readFileSync(new URL(file, import.meta.url), 'utf8').matchAll(/from '([^']+)'/g)) {
      if (from.startsWith('./')) visit(`${from}.ts`);
      else packages.add(from);
    }
  };
  visit('./loss.ts');
  expect([...packages].sort()).toEqual(['@espalier/objectives', '@espalier/spec']);
});
