import type { Metrics } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { nextPatience } from './early-stopping';
import { repetition, RunMonitor } from './monitor';
import { monitorRules } from './monitor-rules';

/** A healthy run of on-policy training, with a little noise that is the same every time. */
const noise = (step: number) => Math.sin(step * 12.9898) * 0.05;
const healthy = (step: number): Metrics => ({
  loss: 0.3 + noise(step), reward: 0.2 + step * 0.005 + noise(step), frac_reward_zero_std: 0.3, kl: 0.01 + Math.abs(noise(step)) / 10, 'completions/mean_length': 40 + 20 * noise(step),
  'completions/repetition': 0.1, 'completions/clipped_ratio': 0.1, entropy: 1, 'sampling/sampling_logp_difference/mean': 0.01,
});
function watch(steps: number, change: (step: number) => Metrics = () => ({})): { name: string; step: number; message: string }[] {
  const monitor = new RunMonitor();
  return Array.from({ length: steps }, (_, i) => monitor.observe(i + 1, { ...healthy(i), ...change(i) })).flat();
}
const names = (steps: number, change?: (step: number) => Metrics) => watch(steps, change).map(({ name }) => name);

describe('RunMonitor', () => {
  it('has nothing to say of a healthy run', () => expect(watch(200)).toEqual([]));

  it.each<[string, (step: number) => Metrics]>([
    ['loss_near_zero', () => ({ loss: 1e-5 })],
    ['groups_without_variance', () => ({ frac_reward_zero_std: 0.85 })],
    ['negative_kl', (step) => ({ kl: -0.05 + noise(step) / 2 })],
    ['log_ratio_exploding', (step): Metrics => (step > 50 ? { 'sampling/sampling_logp_difference/mean': 3 } : {})],
    ['reward_flat', (step) => ({ reward: 0.4 + noise(step) })],
    ['length_climbing', (step) => ({ 'completions/mean_length': 40 + step })],
    ['repetition_climbing', (step) => ({ 'completions/repetition': 0.1 + step / 200 })],
    ['completions_clipped', () => ({ 'completions/clipped_ratio': 0.95 })],
    ['entropy_collapse', (step) => ({ entropy: Math.exp(-step / 20) })],
  ])('%s: once, and nothing else', (name, change) => expect(names(150, change)).toEqual([name]));

  it('every rule is tried above', () => expect(monitorRules).toHaveLength(9));

  it('says what was seen and what may help', () => {
    expect(watch(150, () => ({ frac_reward_zero_std: 0.85 }))).toMatchObject([{ level: 'warning', step: 10, message: expect.stringMatching(/85 % of the groups .*`num_generations`/) as string }]);
    expect(watch(1, () => ({ loss: 1e-5 }))).toMatchObject([{ level: 'note', message: expect.stringMatching(/near 0 \(0\.00001\) is right here.*Watch `reward`/) as string }]);
  });

  it('one bad step is no trend, and what is missing or not finite is passed over', () => {
    expect(names(150, (step): Metrics => (step === 70 ? { kl: -5, 'sampling/sampling_logp_difference/mean': 50, 'completions/mean_length': 4000, frac_reward_zero_std: 1, entropy: NaN, reward: NaN } : {}))).toEqual([]);
    const offline = new RunMonitor();
    expect(Array.from({ length: 5 }, (_, i) => offline.observe(i, { kl: 40, loss: 1 })).flat()).toEqual([]); // KTO's, over whole completions
    expect(new RunMonitor().observe(1, { loss: 1e-6, learning_rate: 1 })).toEqual([]); // supervised: a loss near 0 is none of a group's
  });

  it('goes on from its state as if it had not been interrupted', () => {
    const change = (step: number): Metrics => ({ kl: -0.05 + noise(step) / 2, 'completions/mean_length': 40 + step });
    const whole = watch(150, change);
    for (const at of [0, 5, 9, 10, 11, 40]) {
      const first = new RunMonitor();
      const said = Array.from({ length: at }, (_, i) => first.observe(i + 1, { ...healthy(i), ...change(i) })).flat();
      const second = new RunMonitor(JSON.parse(JSON.stringify(first.state())) as ReturnType<RunMonitor['state']>);
      for (let i = at; i < 150; i++) said.push(...second.observe(i + 1, { ...healthy(i), ...change(i) }));
      expect(said).toEqual(whole);
    }
  });
});

describe('repetition', () => {
  it('is the share of 4-grams that have come before', () => {
    expect(repetition([1, 2, 3, 4, 5, 6])).toBe(0);
    expect(repetition([7, 7, 7, 7, 7, 7, 7])).toBe(0.75);
    expect(repetition(Int32Array.of(1, 2, 1, 2, 1, 2))).toBeCloseTo(1 / 3, 12);
    expect(repetition([1, 2, 3])).toBe(0);
    expect(repetition([1, 11, 1, 11, 11, 1, 11, 1])).toBe(0); // numbers, not digits
  });
});

describe('nextPatience', () => {
  const counts = (values: readonly number[], options: { greaterIsBetter: boolean; threshold: number }) => {
    let state = { best: null as number | null, count: 0 };
    return values.map((value) => (state = nextPatience(state, value, options)).count);
  };
  it('counts evaluations without an improvement, as transformers does', () => {
    expect(counts([1, 2, 2, 1, 3, NaN, 3], { greaterIsBetter: true, threshold: 0 })).toEqual([0, 0, 1, 2, 0, 1, 2]);
    expect(counts([3, 2.95, 2.5, 2.45, 2.4], { greaterIsBetter: false, threshold: 0.1 })).toEqual([0, 1, 0, 1, 2]); // small steps move the best and do not count
  });
});
