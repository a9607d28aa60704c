import { EspalierError } from '@espalier/spec';
import { Command, Option } from 'commander';
import { z } from 'zod';
import { readConfigFile } from './config-file';
import { fieldsOf, type Field } from './fields';
import { onInterrupt } from './interrupt';
import { keyAliases } from './normalise';
import { openOutput, type Output } from './output';
import { translateTrl } from './trl/translate';
import { validate } from './validate';
import { readValue } from './values';

export interface CommandContext {
  output: Output;
  signal: AbortSignal;
  /** What was given on the command line or in `--config`, before defaults. */
  given: Readonly<Record<string, unknown>>;
}

export interface CommandSpec<Shape extends z.ZodRawShape> {
  name: string;
  summary: string;
  /** Every flag of the command, besides `--json` and `--config`. */
  shape: Shape;
  /** Help of fields whose schema carries none. */
  help?: Readonly<Record<string, string>>;
  /** Text flags that are taken whole: a comma in them separates nothing. */
  whole?: readonly string[];
  /** Whether `--config FILE` is accepted. */
  config?: boolean;
  /** A positional argument, as commander writes it, and the field that it fills. */
  argument?: { syntax: string; field: string; help: string };
  notes?: string;
  /** What the first Ctrl-C says. */
  interrupt?: string;
  /** Completes what was given before it is checked: a resumed run's own options, for one. */
  complete?(given: Record<string, unknown>): Record<string, unknown>;
  run(values: z.output<z.ZodObject<Shape>>, context: CommandContext): Promise<void>;
}

function defaultText(field: Field): string {
  if (field.required) return ' (required)';
  if (field.default === undefined || field.default === null) return '';
  if (typeof field.default === 'object' && Object.keys(field.default).length === 0) return '';
  return ` (default ${typeof field.default === 'string' ? field.default : JSON.stringify(field.default)})`;
}

function placeholder(field: Field): string {
  if (field.choices && field.choices.length <= 5) return field.choices.join('|');
  if (field.kinds.includes('array')) return field.items.includes('number') ? 'numbers' : 'names';
  return field.kinds.find((kind) => kind !== 'boolean') === 'number' ? 'number' : field.kinds.includes('object') ? 'json' : 'text';
}

const optionFields = new WeakMap<Option, Field>();

/** The field that a flag was made of; undefined for the few that are of no schema. */
export const fieldOf = (option: Option): Field | undefined => optionFields.get(option);

function optionOf(field: Field): Option[] {
  const made = optionsOf(field);
  optionFields.set(made[0], field);
  return made;
}

function optionsOf(field: Field): Option[] {
  const text = `${field.description}${defaultText(field)}`;
  if (field.kinds.includes('boolean')) {
    const others = field.kinds.length > 1;
    const positive = new Option(`${field.flag} [${others ? placeholder(field) : 'boolean'}]`, text);
    return [positive, new Option(`--no-${field.flag.slice(2)}`).hideHelp()];
  }
  const option = new Option(`${field.flag} <${placeholder(field)}>`, text);
  if (field.kinds.includes('array')) option.argParser((value: string, before: string[] | undefined) => [...(before ?? []), value]);
  return [option];
}

/** Builds a commander command from a specification: flags from its schema, values checked, one way in and out for all commands. */
export function buildCommand<Shape extends z.ZodRawShape>(spec: CommandSpec<Shape>): Command {
  const schema = z.strictObject(spec.shape);
  const fields = fieldsOf(spec.shape, spec.help);
  const command = new Command(spec.name).description(spec.summary).allowExcessArguments(false).showSuggestionAfterError(false);
  if (spec.argument) command.argument(spec.argument.syntax, spec.argument.help);
  for (const field of fields) {
    if (field.name === spec.argument?.field) continue;
    for (const option of optionOf(field)) command.addOption(option);
  }
  if (spec.config) command.option('--config <file>', 'YAML or JSON file of these fields, in snake_case or camelCase; flags override it');
  command.option('--json', 'print one JSON object on standard output and nothing else there');
  if (spec.notes) command.addHelpText('after', `\n${spec.notes}`);

  command.action(async (...parameters: unknown[]) => {
    const options = command.opts<Record<string, unknown>>();
    const output = openOutput(options['json'] === true);
    try {
      let given: Record<string, unknown> = spec.config && typeof options['config'] === 'string' ? readConfigFile(options['config'], fields, keyAliases, translated(spec.name, options['config'], output)) : {};
      for (const field of fields) {
        const raw = field.name === spec.argument?.field ? parameters[0] : options[optionKey(field)];
        if (raw === undefined) continue;
        given[field.name] = spec.whole?.includes(field.name) ? raw : readValue(field, raw as string | boolean | string[]);
      }
      if (spec.complete) given = spec.complete(given);
      const values = validate(schema, given) as z.output<z.ZodObject<Shape>>;
      const interrupt = onInterrupt(spec.interrupt ?? 'stopping');
      try {
        await spec.run(values, { output, signal: interrupt.signal, given });
      } finally {
        interrupt.dispose();
      }
    } finally {
      output.restore();
    }
  });
  return command;
}

/** TRL's fields as ours, with a notice for each that is ignored. */
const translated = (command: string, path: string, output: Output) => (given: Record<string, unknown>): Record<string, unknown> => {
  const { values, notes } = translateTrl(command, given, path);
  for (const note of notes) output.note(`notice: ${note}`);
  return values;
};

/** Commander's name for an option: `--adam-beta1` → `adamBeta1`. */
function optionKey(field: Field): string {
  return field.flag.slice(2).split('-').reduce((name, word) => name + word[0].toUpperCase() + word.slice(1));
}

/** The same object without the keys whose value is undefined. */
export function defined<T extends Record<string, unknown>>(values: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as { [K in keyof T]: Exclude<T[K], undefined> };
}

/** Reads `name` or `name=weight`. */
export function readWeighted(text: string): { name: string; weight: number } {
  const at = text.lastIndexOf('=');
  if (at < 0) return { name: text, weight: 1 };
  const weight = Number(text.slice(at + 1));
  if (text.slice(at + 1).trim() === '' || !Number.isFinite(weight)) throw new EspalierError('usage', `--reward is ${JSON.stringify(text)}`, { fix: 'it takes NAME or NAME=WEIGHT, such as numeric=0.8' });
  return { name: text.slice(0, at), weight };
}
