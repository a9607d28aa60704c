import type { Command, Option } from 'commander';
import { fieldOf } from '../command';

/** A flag as a shell completes it. */
export interface CompletedFlag {
  flag: string;
  description: string;
  /** Whether a value follows. */
  takesValue: boolean;
  /** What it may be; null: anything, such as a path. */
  choices: readonly string[] | null;
}

/** A command as a shell completes it. */
export interface CompletedCommand {
  /** `sft`, or `data convert`. */
  path: string;
  summary: string;
  flags: readonly CompletedFlag[];
  subcommands: readonly CompletedCommand[];
}

/** The first sentence of a help text, without what would need quoting in some shell. */
const brief = (text: string): string => text.replace(/\s*\(default .*$/s, '').split(/[;:.] /)[0].replace(/['"`\\$[\]{}()<>|&!*]/g, '').trim();

function flagOf(option: Option): CompletedFlag | null {
  if (option.hidden || !option.long) return null;
  const field = fieldOf(option);
  const boolean = field?.kinds.includes('boolean') ?? false;
  return { flag: option.long, description: brief(option.description), takesValue: option.required, choices: field?.choices ?? (boolean ? ['true', 'false'] : null) };
}

/** What a shell may complete of a program: made of the same schemas as its help. */
export function describeCommand(command: Command, above = ''): CompletedCommand {
  const path = `${above} ${command.name()}`.trim();
  const flags = [...command.options.map(flagOf).filter((flag) => flag !== null), { flag: '--help', description: 'help of the command', takesValue: false, choices: null }];
  return { path, summary: brief(command.description()), flags, subcommands: command.commands.map((inner) => describeCommand(inner, above === '' && command.parent === null ? '' : path)) };
}

/** Every command below the program itself, those of groups included. */
export const allCommands = (program: CompletedCommand): CompletedCommand[] => program.subcommands.flatMap((command) => [command, ...allCommands(command)]);
