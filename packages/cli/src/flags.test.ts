import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { trainingArguments } from '@espalier/trainer';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { readWeighted } from './command';
import { readConfigFile } from './config-file';
import { camelCase, fieldsOf, kebabCase } from './fields';
import { normaliseArguments } from './normalise';
import { validate } from './validate';
import { readNumber, readValue } from './values';

const fields = fieldsOf(trainingArguments.shape);
const field = (name: string) => fields.find((candidate) => candidate.name === name)!;

describe('names', () => {
  it('of TRL, with - or _, in any case, are one', () => {
    expect(normaliseArguments(['sft', '--learning_rate', '1e-5', '--per-device_train_batch-size=4', '--maxSteps', '3', '--', '--left_alone'])).toEqual([
      'sft', '--learning-rate', '1e-5', '--per-device-train-batch-size=4', '--max-steps', '3', '--', '--left_alone',
    ]);
    expect(normaliseArguments(['--model_name_or_path', 'm', '--reward_funcs=numeric'])).toEqual(['--model', 'm', '--reward=numeric']);
    for (const { name } of fields) expect(camelCase(kebabCase(name))).toBe(name);
  });

  it('come from the schema with kinds, choices and defaults', () => {
    expect(field('learningRate')).toMatchObject({ flag: '--learning-rate', kinds: ['number'], default: 5e-5, required: false });
    expect(field('adamBeta1').flag).toBe('--adam-beta1');
    expect(field('overwriteOutputDir').kinds).toEqual(['boolean']);
    expect(field('lrSchedulerType').choices).toContain('cosine');
    expect(field('resumeFromCheckpoint').kinds).toEqual(['boolean', 'string']);
    expect(field('lrSchedulerKwargs').kinds).toEqual(['object']);
    const [list] = fieldsOf({ rewardWeights: z.array(z.number()).nullish().transform((value) => value ?? undefined) });
    expect(list).toMatchObject({ kinds: ['array'], items: ['number'], required: false });
  });
});

describe('values', () => {
  it('are numbers when they are written as numbers, and nothing else is', () => {
    expect(['8', '5e-6', '-1', '.5', '1_000', '+2.', '1E3'].map(readNumber)).toEqual([8, 5e-6, -1, 0.5, 1000, 2, 1000]);
    expect(['', ' ', 'abc', '1e', '0x10', 'NaN', 'Infinity', '1,5', '1e999', '--1'].map(readNumber)).toEqual(Array(10).fill(null));
  });

  it('are refused with the flag, what was found and what would do', () => {
    expect(() => readValue(field('learningRate'), 'fast')).toThrow('--learning-rate is "fast" (it takes a number such as 0.00005)');
    expect(() => readValue(field('overwriteOutputDir'), 'maybe')).toThrow('--overwrite-output-dir is "maybe" (it takes true or false)');
    expect(() => readValue(field('saveStrategy'), 'never')).toThrow('--save-strategy is "never" (it takes one of no, steps, epoch, best)');
    expect(() => readValue(field('lrSchedulerKwargs'), '{oops')).toThrow('it takes a JSON object');
  });

  it('of TRL are understood: True, lists with commas, JSON', () => {
    expect(readValue(field('overwriteOutputDir'), 'True')).toBe(true);
    expect(readValue(field('overwriteOutputDir'), false)).toBe(false);
    expect(readValue(field('resumeFromCheckpoint'), 'runs/x/checkpoints/step-000010')).toBe('runs/x/checkpoints/step-000010');
    expect(readValue(field('lrSchedulerKwargs'), '{"numCycles": 2}')).toEqual({ numCycles: 2 });
    const [numbers, names] = fieldsOf({ rewardWeights: z.array(z.number()), reward: z.array(z.string()) });
    expect(readValue(numbers, ['0.8,0.2'])).toEqual([0.8, 0.2]);
    expect(readValue(names, ['numeric=0.8', 'format'])).toEqual(['numeric=0.8', 'format']);
    expect(() => readValue(numbers, ['0.8,x'])).toThrow('--reward-weights is "x"');
  });

  it('are checked against the schema, in one line', () => {
    const schema = z.strictObject({ batch: z.int().positive().describe('rows a step'), rate: z.number().max(1).optional(), kind: z.enum(['a', 'b']).optional() });
    expect(() => validate(schema, {})).toThrow('--batch is missing (rows a step)');
    expect(() => validate(schema, { batch: 0 })).toThrow('--batch is 0 (it must be more than 0)');
    expect(() => validate(schema, { batch: 1.5 })).toThrow('--batch is 1.5 (it takes a whole number)');
    expect(() => validate(schema, { batch: 1, rate: 2 })).toThrow('--rate is 2 (it must be at most 1)');
    expect(() => validate(schema, { batch: 1, kind: 'c' })).toThrow('--kind is "c" (it takes one of a, b)');
  });

  it('of rewards carry a weight', () => {
    expect(readWeighted('numeric')).toEqual({ name: 'numeric', weight: 1 });
    expect(readWeighted('numeric=0.8')).toEqual({ name: 'numeric', weight: 0.8 });
    expect(() => readWeighted('numeric=much')).toThrow('it takes NAME or NAME=WEIGHT');
  });
});

describe('a configuration file', () => {
  let dir: string;
  beforeEach(() => void (dir = mkdtempSync(join(tmpdir(), 'espalier-config-'))));
  afterEach(() => rmSync(dir, { recursive: true }));
  const file = (name: string, text: string) => {
    const path = join(dir, name);
    writeFileSync(path, text);
    return path;
  };

  it('takes snake_case and camelCase, YAML and JSON', () => {
    expect(readConfigFile(file('a.yaml', 'learning_rate: 5e-6\nmaxSteps: 3\nlr_scheduler_type: constant\nrun_name: null\n'), fields)).toEqual({ learningRate: 5e-6, maxSteps: 3, lrSchedulerType: 'constant' });
    expect(readConfigFile(file('a.json', '{"max_steps": 3, "learning_rate": "1e-4"}'), fields)).toEqual({ maxSteps: 3, learningRate: 1e-4 });
    expect(readConfigFile(file('empty.yaml', ''), fields)).toEqual({});
  });

  it('is refused with the nearest key, the line, or the reason', () => {
    expect(() => readConfigFile(file('b.yaml', 'lerning_rate: 1'), fields)).toThrow('unknown field `lerning_rate` (did you mean `learning_rate`?)');
    expect(() => readConfigFile(file('c.yaml', 'a: 1\nb: [1'), fields)).toThrow(/c\.yaml:\d+: /);
    expect(() => readConfigFile(file('d.yaml', '- 1'), fields)).toThrow('holds a list');
    expect(() => readConfigFile(file('e.yaml', 'max_steps: 1\nmaxSteps: 2'), fields)).toThrow('`maxSteps` is given twice');
    expect(() => readConfigFile(file('f.yaml', 'max_steps: many'), fields)).toThrow('f.yaml: `max_steps` is "many"');
    expect(() => readConfigFile(join(dir, 'absent.yaml'), fields)).toThrow('there is no such file');
  });
});
