// docs/trl-fields.md, from the table that the command line reads: npx tsx --conditions @espalier/source tools/docs/trl-fields-page.mts
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { camelCase } from '../../packages/cli/src/fields';
import { earlierFields, earlierSftFields } from '../../packages/cli/src/trl/earlier-fields';
import type { TrlField, TrlFields } from '../../packages/cli/src/trl/field';
import { modelFields } from '../../packages/cli/src/trl/model-fields';
import { rewardScriptFields, scriptFields } from '../../packages/cli/src/trl/script-fields';
import { trlFieldsOf } from '../../packages/cli/src/trl/table';
import { trainingFields } from '../../packages/cli/src/trl/training-fields';

export const pagePath = fileURLToPath(new URL('../../docs/trl-fields.md', import.meta.url));
const fixture = JSON.parse(readFileSync(new URL('../../packages/cli/src/trl/fixtures/trl-fields.json', import.meta.url), 'utf8')) as {
  versions: Record<string, string>;
  classes: Record<string, { name: string; default: unknown; from: string }[]>;
};

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');
const shown = (value: unknown): string => (value === undefined ? '' : value === '' ? '`""`' : `\`${typeof value === 'string' ? value : JSON.stringify(value)}\``);

function here(name: string, field: TrlField): string {
  if (field.verdict !== 'honoured') return `**${field.verdict}**`;
  const own = field.as ? camelCase(field.as) : camelCase(name);
  return field.part || name === 'env' || name === 'optim' ? 'honoured' : `\`${own}\``;
}

function row(name: string, field: TrlField, fallback: unknown): string {
  const note = [field.note ?? '', field.fix ? `instead: ${field.fix}` : ''].filter(Boolean).join('; ');
  return `| \`${name}\` | ${cell(shown(fallback))} | ${here(name, field)} | ${cell(note)} |`;
}

function section(title: string, about: string, fields: TrlFields, defaults: ReadonlyMap<string, unknown>): string {
  const rows = Object.entries(fields).map(([name, field]) => row(name, field, defaults.get(name)));
  return [`## ${title}`, '', about, '', "| field | TRL's default | here | |", '|---|---|---|---|', ...rows].join('\n');
}

const count = (command: string): string => {
  const verdicts = [...trlFieldsOf(command)!.values()].map(({ verdict }) => verdict);
  const of = (wanted: string) => verdicts.filter((verdict) => verdict === wanted).length;
  return `| \`${command}\` | ${of('honoured')} | ${of('ignored')} | ${of('refused')} |`;
};

/** The page, as it should stand in docs/. */
export function trlFieldsPage(): string {
  const { versions, classes } = fixture;
  const defaultsOf = (...names: string[]) => new Map(names.flatMap((name) => classes[name].map((field) => [field.name, field.default] as const)));
  /** The fields that a trainer's configuration declares itself, in TRL's order, and those of all trainers that it sees in another way. */
  const own = (command: string, config: string): TrlFields => {
    const table = trlFieldsOf(command)!;
    const declared = classes[config].filter(({ from, name }) => from === config || table.get(name) !== trainingFields[name]).map(({ name }) => [name, table.get(name)!] as const);
    return Object.fromEntries(declared);
  };
  return `${[
    "# TRL's fields",
    `<!-- made by tools/docs/trl-fields-page.mts from packages/cli/src/trl; the fields are those of TRL ${versions['trl']} with transformers ${versions['transformers']} and peft ${versions['peft']} (tools/docs/trl-fields.py) -->`,
    `\`espalier sft|dpo|grpo --config trl.yaml\` takes the file that \`trl sft|dpo|grpo --config\` takes. This page says what becomes of each field of TRL ${versions['trl']}: of the script's
arguments, the model's, and the trainer's with all that it inherits from \`transformers\` ${versions['transformers']}. It is written from the table that the command itself reads.`,
    [
      '- **honoured**: it does here what it does there. The name is the one in TypeScript and in a YAML file in camelCase; flags have `-` in its place (`--max-length`).',
      '- **ignored**: it says how PyTorch, its processes or its services run. What is learnt is the same without it, and the command says so in a line.',
      '- **refused**: something else would be learnt without it, or something asked for would be missing. The command ends with status 2, the reason and what would do.',
    ].join('\n'),
    "A field with TRL's default, or with `null`, is never ignored aloud nor refused. Where a default means something else here (`gradient_checkpointing`, `lora_target_modules`, `num_generations_eval`), the last column says so.",
    ['| | honoured | ignored | refused |', '|---|---|---|---|', ...['sft', 'dpo', 'grpo'].map(count)].join('\n'),
    section('Rows', '`ScriptArguments`, `DatasetMixtureConfig`, and `env`.', scriptFields, defaultsOf('ScriptArguments', 'DatasetMixtureConfig')),
    section('Rewards', '`GRPOScriptArguments`: of `grpo`, and of the other trainers on rewards.', rewardScriptFields, defaultsOf('GRPOScriptArguments')),
    section('Model and adapters', '`ModelConfig`.', modelFields, defaultsOf('ModelConfig')),
    section('Every trainer', "`transformers.TrainingArguments` with TRL's overrides. Other training commands (`kto`, `reward`, `rloo` …) take these, and those above, too. Defaults are those of `SFTConfig`; `learning_rate` is 1e-6 for `dpo` and `grpo`.", trainingFields, defaultsOf('SFTConfig')),
    section('SFT', '`SFTConfig`.', own('sft', 'SFTConfig'), defaultsOf('SFTConfig')),
    section('DPO', '`DPOConfig`.', own('dpo', 'DPOConfig'), defaultsOf('DPOConfig')),
    section('GRPO', '`GRPOConfig`.', own('grpo', 'GRPOConfig'), defaultsOf('GRPOConfig')),
    section('Names of before', `What TRL ${versions['trl']} has no more, and what recipes around it use (alignment-handbook, open-r1).`, { ...earlierFields, ...earlierSftFields }, new Map()),
  ].join('\n\n')}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(pagePath, trlFieldsPage());
