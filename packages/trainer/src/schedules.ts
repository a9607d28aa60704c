import { EspalierError } from '@espalier/spec';
import type { SchedulerName } from './arguments';

export interface ScheduleOptions {
  learningRate: number;
  warmupSteps: number;
  totalSteps: number;
  kwargs?: Readonly<Record<string, number | string>>;
}

/** Learning rate of optimiser step `step` (0 for the first one). */
export type Schedule = (step: number) => number;

/**
 * The learning-rate schedules of `transformers.optimization`, formula for formula; the value used for optimiser step `t` (from 0) is
 * `learningRate × factor(t)`. Defaults of what `kwargs` may carry: `numCycles` 0.5 (restarts: 1), `minLr` or `minLrRate`, `power` 1,
 * `lrEnd` 1e-7, `timescale` (warm-up steps, or 10,000), `numDecaySteps` (a tenth of all), `numStableSteps`, `decayType` linear | cosine | 1-sqrt.
 *
 * @throws EspalierError `bad_config` for an unknown option or one out of range
 * @example
 * const lr = learningRateSchedule('cosine', { learningRate: 1e-4, warmupSteps: 10, totalSteps: 100 });
 * lr(0); // 0: the first warm-up step
 */
export function learningRateSchedule(name: SchedulerName, options: ScheduleOptions): Schedule {
  const { learningRate, warmupSteps, totalSteps } = options;
  const kwargs = optionsReader(name, options.kwargs ?? {});
  const factor = factorOf(name, warmupSteps, totalSteps, learningRate, kwargs);
  kwargs.done();
  return (step) => learningRate * factor(step);
}

function factorOf(name: SchedulerName, warmup: number, total: number, learningRate: number, kwargs: OptionsReader): Schedule {
  const warm = (after: Schedule): Schedule => (t) => (t < warmup ? t / Math.max(1, warmup) : after(t));
  const progress = (t: number) => (t - warmup) / Math.max(1, total - warmup);
  switch (name) {
    case 'constant':
      return () => 1;
    case 'constant_with_warmup':
      return warm(() => 1);
    case 'linear':
      return warm((t) => Math.max(0, (total - t) / Math.max(1, total - warmup)));
    case 'cosine': {
      const cycles = kwargs.number('numCycles', 0.5);
      return warm((t) => Math.max(0, 0.5 * (1 + Math.cos(Math.PI * cycles * 2 * progress(t)))));
    }
    case 'cosine_with_restarts': {
      const cycles = kwargs.number('numCycles', 1);
      return warm((t) => (progress(t) >= 1 ? 0 : Math.max(0, 0.5 * (1 + Math.cos(Math.PI * ((cycles * progress(t)) % 1))))));
    }
    case 'cosine_with_min_lr': {
      const cycles = kwargs.number('numCycles', 0.5);
      const minLr = kwargs.number('minLr', -1);
      const rate = kwargs.number('minLrRate', minLr >= 0 ? minLr / learningRate : -1);
      if (!(rate >= 0 && rate <= 1)) throw new EspalierError('bad_config', '`lr_scheduler_type` cosine_with_min_lr needs `min_lr` (at most `learning_rate`) or `min_lr_rate` (from 0 to 1) in `lr_scheduler_kwargs`');
      return warm((t) => Math.max(0, 0.5 * (1 + Math.cos(Math.PI * cycles * 2 * progress(t))) * (1 - rate) + rate));
    }
    case 'polynomial': {
      const end = kwargs.number('lrEnd', 1e-7);
      const power = kwargs.number('power', 1);
      if (!(learningRate > end)) throw new EspalierError('bad_config', `\`lr_end\` ${end} must be smaller than \`learning_rate\` ${learningRate}`);
      return warm((t) => (t > total ? end : (learningRate - end) * (1 - progress(t)) ** power + end) / learningRate);
    }
    case 'inverse_sqrt': {
      const timescale = kwargs.number('timescale', warmup || 10_000);
      return warm((t) => 1 / Math.sqrt((t + timescale - warmup) / timescale));
    }
    case 'warmup_stable_decay': {
      const decay = kwargs.number('numDecaySteps', Math.ceil(total / 10));
      const stable = kwargs.number('numStableSteps', Math.max(0, total - warmup - decay));
      const rate = kwargs.number('minLrRatio', 0);
      const shape = decayShape(kwargs.text('decayType', 'cosine'), kwargs.number('numCycles', 0.5));
      return (t) => {
        if (t < warmup) return (t / Math.max(1, warmup)) * (1 - rate) + rate;
        if (t < warmup + stable) return 1;
        if (t >= warmup + stable + decay) return rate;
        return Math.max(0, shape((t - warmup - stable) / Math.max(1, decay)) * (1 - rate) + rate);
      };
    }
  }
}

function decayShape(type: string, cycles: number): Schedule {
  if (type === 'linear') return (p) => 1 - p;
  if (type === 'cosine') return (p) => 0.5 * (1 + Math.cos(Math.PI * cycles * 2 * p));
  if (type === '1-sqrt') return (p) => 1 - Math.sqrt(p);
  throw new EspalierError('bad_config', `\`decay_type\` in \`lr_scheduler_kwargs\` is ${JSON.stringify(type)}`, { fix: 'linear, cosine and 1-sqrt exist' });
}

interface OptionsReader {
  number(key: string, fallback: number): number;
  text(key: string, fallback: string): string;
  done(): void;
}

/** Reads options in camelCase or snake_case; what nobody read is refused. */
function optionsReader(schedule: string, kwargs: Readonly<Record<string, number | string>>): OptionsReader {
  const left = new Map(Object.entries(kwargs).map(([key, value]) => [key.replace(/_([a-z])/g, (_, c: string) => c.toUpperCase()), value]));
  const take = (key: string) => {
    const value = left.get(key);
    left.delete(key);
    return value;
  };
  return {
    number(key, fallback) {
      const value = take(key) ?? fallback;
      if (typeof value !== 'number' || !Number.isFinite(value)) throw new EspalierError('bad_config', `\`${key}\` in \`lr_scheduler_kwargs\` must be a number, found ${JSON.stringify(value)}`);
      return value;
    },
    text: (key, fallback) => String(take(key) ?? fallback),
    done() {
      if (left.size > 0) throw new EspalierError('bad_config', `\`lr_scheduler_kwargs\`: ${schedule} has no option ${[...left.keys()].map((k) => `\`${k}\``).join(', ')}`);
    },
  };
}
