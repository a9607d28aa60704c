import { readFileSync } from 'node:fs';
import { parseDPOConfig } from '@espalier/dpo';
import { parseGRPOConfig } from '@espalier/grpo';
import { parseSFTConfig } from '@espalier/sft';
import { describe, expect, it } from 'vitest';
import { camelCase, kebabCase } from '../fields';
import { createProgram } from '../main';
import { flagAliases } from '../normalise';
import { earlierFields, earlierSftFields } from './earlier-fields';
import { isInert } from './field';
import { trlFieldsOf } from './table';
import { translateTrl } from './translate';

interface Fixture {
  versions: Record<string, string>;
  classes: Record<string, { name: string; type: string; default: unknown; from: string }[]>;
}
const { classes } = JSON.parse(readFileSync(new URL('fixtures/trl-fields.json', import.meta.url), 'utf8')) as Fixture;
const trainers = {
  sft: ['ScriptArguments', 'DatasetMixtureConfig', 'ModelConfig', 'SFTConfig'],
  dpo: ['ScriptArguments', 'DatasetMixtureConfig', 'ModelConfig', 'DPOConfig'],
  grpo: ['GRPOScriptArguments', 'DatasetMixtureConfig', 'ModelConfig', 'GRPOConfig'],
};
const fieldsOfTrl = (command: keyof typeof trainers) => trainers[command].flatMap((name) => classes[name]);
const commands = Object.keys(trainers) as (keyof typeof trainers)[];

describe.each(commands)("TRL's YAML for %s", (command) => {
  const table = trlFieldsOf(command)!;

  it('has an answer for every field of TRL 1.16, and for no others', () => {
    const names = fieldsOfTrl(command).map(({ name }) => name);
    expect(names.length).toBeGreaterThan(150);
    expect(names.filter((name) => !table.has(name))).toEqual([]);
    const known = new Set([...commands.flatMap((one) => fieldsOfTrl(one).map(({ name }) => name)), ...Object.keys({ ...earlierFields, ...earlierSftFields }), 'env']);
    expect([...table.keys()].filter((name) => !known.has(name))).toEqual([]);
  });

  it('gives a reason for what is not honoured, and a way out of what is refused', () => {
    for (const [name, field] of table) {
      if (field.verdict !== 'honoured') expect(field.note, name).toBeTruthy();
      if (field.verdict === 'refused') expect(field.fix, name).toBeTruthy();
    }
  });

  it('honours only what the command has a flag for', () => {
    const flags = createProgram().commands.find((candidate) => candidate.name() === command)!.options.map(({ long }) => long);
    for (const [name, field] of table) {
      if (field.verdict !== 'honoured' || field.part || name === 'optim' || name === 'env') continue;
      const flag = kebabCase(camelCase(field.as ?? name));
      expect(flags, name).toContain(`--${flagAliases[flag] ?? flag}`);
    }
  });

  it('takes every default of TRL without a word, and they are the defaults here', () => {
    const defaults = Object.fromEntries(fieldsOfTrl(command).map((field) => [field.name, field.default]));
    const { values, notes } = translateTrl(command, { ...defaults, model_name_or_path: 'm', dataset_name: 'rows.jsonl' }, 'trl.yaml');
    expect(notes).toEqual([]);
    const { model, dataset, reward: _, resume: _resume, evalSamples: _samples, ...own } = Object.fromEntries(Object.entries(values).map(([name, value]) => [camelCase(name), value]));
    expect([model, dataset]).toEqual(['m', 'rows.jsonl']);
    const parse = { sft: parseSFTConfig, dpo: parseDPOConfig, grpo: parseGRPOConfig }[command] as (input: object) => object;
    // null is left out of a file where it is no value
    const given = Object.fromEntries(Object.entries(own).filter(([name, value]) => value !== null && !['bf16'].includes(name)));
    expect(parse(given)).toEqual({ ...parse({}), gradientCheckpointing: true, evalStrategy: 'no' });
  });

  it('says of each ignored field that it is, refuses each refused one, and says nothing of what asks for nothing', () => {
    for (const [name, field] of table) {
      if (field.verdict === 'honoured') continue;
      const call = () => translateTrl(command, { [name]: 'something else' }, 'trl.yaml');
      if (field.verdict === 'ignored') expect(call(), name).toEqual({ values: {}, notes: [`trl.yaml: \`${name}\`: ignored: ${field.note}`] });
      else expect(call, name).toThrow(expect.objectContaining({ code: 'unsupported', message: `trl.yaml: \`${name}\` is refused: ${field.note} (${field.fix})` }));
      const quiet = [null, ...(field.inert ?? [])];
      for (const value of quiet) expect(translateTrl(command, { [name]: value }, 'trl.yaml'), name).toEqual({ values: {}, notes: [] });
    }
  });
});

it('a field that asks for nothing is told by its value', () => {
  expect(isInert({ verdict: 'ignored', inert: [{ a: 1 }, false] }, { a: 1 })).toBe(true);
  expect(isInert({ verdict: 'ignored', inert: [{ a: 1 }, false] }, { a: 2 })).toBe(false);
  expect(isInert({ verdict: 'ignored' }, 0)).toBe(false);
});
