import { describe, expect, it } from 'vitest';
import { schedulerNames, trainingArguments, parseArguments, resolveWarmupSteps, snakeCase } from './arguments';
import { learningRateSchedule } from './schedules';
import golden from '../test/schedules-transformers-5.23.json';

describe('learning-rate schedules', () => {
  it.each(golden.cases)('$name with $warmupSteps of $totalSteps steps: as in transformers', ({ name, warmupSteps, totalSteps, kwargs, factors }) => {
    const schedule = learningRateSchedule(name as (typeof schedulerNames)[number], { learningRate: 1e-3, warmupSteps, totalSteps, kwargs: kwargs as Record<string, number | string> });
    factors.forEach((factor, step) => expect(schedule(step)).toBeCloseTo(1e-3 * factor, 12));
  });

  it('every schedule is covered', () => {
    expect(new Set(golden.cases.map(({ name }) => name))).toEqual(new Set(schedulerNames));
  });

  it('refuses options that a schedule does not have, or that make no sense', () => {
    const make = (name: (typeof schedulerNames)[number], kwargs: Record<string, number | string>) => () => learningRateSchedule(name, { learningRate: 1e-3, warmupSteps: 0, totalSteps: 10, kwargs });
    expect(make('linear', { numCycles: 2 })).toThrow(/linear has no option `numCycles`/);
    expect(make('cosine', { numCycles: 'two' })).toThrow(/`numCycles` .* must be a number, found "two"/);
    expect(make('cosine_with_min_lr', {})).toThrow(/needs `min_lr`/);
    expect(make('polynomial', { lrEnd: 1 })).toThrow(/must be smaller than `learning_rate`/);
    expect(make('warmup_stable_decay', { decayType: 'cubic' })).toThrow(/linear, cosine and 1-sqrt exist/);
  });
});

describe('training arguments', () => {
  it('have the defaults of transformers and TRL', () => {
    expect(trainingArguments.parse({})).toMatchObject({ perDeviceTrainBatchSize: 8, gradientAccumulationSteps: 1, numTrainEpochs: 3, learningRate: 5e-5, lrSchedulerType: 'linear', maxGradNorm: 1, seed: 42, loggingSteps: 10, saveSteps: 500, maxSteps: -1, weightDecay: 0 });
  });

  it('errors name the field as TRL writes it, what was found and what would do', () => {
    expect(() => parseArguments(trainingArguments, { perDeviceTrainBatchSize: 0 })).toThrow(/`per_device_train_batch_size`: .*found 0/);
    expect(() => parseArguments(trainingArguments, { learningRat: 1 })).toThrow(/unknown field `learning_rat`/);
    expect(() => parseArguments(trainingArguments, { lrSchedulerType: 'cosin' })).toThrow(/`lr_scheduler_type`: .*cosine_with_restarts.*found "cosin"/);
    expect(snakeCase('adamBeta1')).toBe('adam_beta1');
  });

  it('warm-up is steps, or a share of them', () => {
    expect(resolveWarmupSteps({ warmupSteps: 7, warmupRatio: 0.5 }, 100)).toBe(7);
    expect(resolveWarmupSteps({ warmupSteps: 0.05, warmupRatio: 0 }, 50)).toBe(3);
    expect(resolveWarmupSteps({ warmupSteps: 0, warmupRatio: 0.1 }, 95)).toBe(10);
  });
});
