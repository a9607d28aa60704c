import { readFileSync } from 'node:fs';
import { nearest } from '@espalier/pipeline';
import { EspalierError } from '@espalier/spec';
import { Command, CommanderError } from 'commander';
import { commands } from './commands';
import { normaliseArguments } from './normalise';
import { reportError } from './output';

function version(): string {
  const file = new URL('../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

/** The `espalier` program with all its commands. */
export function createProgram(): Command {
  const program = new Command('espalier').description('Reinforcement pre-training and post-training of language models').version(version(), '-v, --version').showSuggestionAfterError(false).enablePositionalOptions();
  for (const command of commands(() => program)) program.addCommand(command);
  program.addHelpText('after', '\nExit status: 0 done, 1 failed, 2 wrong usage or bad input. ESPALIER_DEBUG=1 prints stacks, ESPALIER_BACKEND and ESPALIER_MATMUL_PRECISION choose from outside.');
  for (const command of [program, ...program.commands, ...program.commands.flatMap((group) => group.commands)]) {
    command.exitOverride();
    command.configureOutput({ writeErr: () => undefined, outputError: () => undefined });
  }
  return program;
}

/** Commander's complaint as one line that proposes what was probably meant. */
function usageError(error: CommanderError, program: Command, argv: readonly string[]): EspalierError {
  const group = program.commands.find((candidate) => candidate.name() === argv[0]) ?? program;
  const command = group === program ? program : (group.commands.find((candidate) => candidate.name() === argv[1]) ?? group);
  const called = command === program ? '' : ` ${command === group ? group.name() : `${group.name()} ${command.name()}`}`;
  const quoted = /'([^']*)'/.exec(error.message)?.[1] ?? '';
  const help = `espalier${called} --help lists ${command.commands.length > 0 ? 'the commands' : 'the flags'}`;
  if (error.code === 'commander.unknownOption') {
    const flag = quoted.split('=')[0];
    const close = nearest(flag, command.options.filter((option) => !option.hidden).map((option) => option.long ?? ''));
    return new EspalierError('usage', `unknown flag ${flag}`, { fix: close ? `did you mean ${close}?` : help });
  }
  if (error.code === 'commander.unknownCommand' || (command === program && error.code === 'commander.excessArguments')) {
    const name = quoted || argv[0];
    const close = nearest(name, command.commands.map((candidate) => candidate.name()));
    return new EspalierError('usage', `unknown command ${name}`, { fix: close ? `did you mean ${close}?` : help });
  }
  if (error.code === 'commander.optionMissingArgument') return new EspalierError('usage', `${quoted.replace(/ [<[].*$/, '')} needs a value`, { fix: help });
  return new EspalierError('usage', error.message.replace(/^error: /, '').split('\n')[0], { fix: help });
}

/**
 * Runs the command line.
 * @param argv the arguments after the program's name
 * @returns the exit status: 0 done, 1 failed, 2 wrong usage or bad input
 */
export async function run(argv: readonly string[]): Promise<0 | 1 | 2> {
  const program = createProgram();
  const normalised = normaliseArguments(argv);
  try {
    if (normalised.length === 0) {
      process.stdout.write(program.helpInformation());
      throw new EspalierError('usage', 'no command was given', { fix: 'espalier --help lists them' });
    }
    await program.parseAsync(normalised, { from: 'user' });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return 0; // --help, --version
      return reportError(usageError(error, program, normalised));
    }
    return reportError(error);
  }
}

/** {@link run}, then ends the process with its status once standard output has been taken. */
export async function main(argv: readonly string[]): Promise<void> {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
  });
  process.on('unhandledRejection', (error) => process.exit(reportError(error)));
  const status = await run(argv);
  if (status !== 0) process.exitCode = status; // a command that did its work may have set 1: what it looked at did not hold
  await new Promise<void>((resolve) => process.stdout.write('', () => resolve()));
  await new Promise<void>((resolve) => process.stderr.write('', () => resolve()));
  process.exit();
}
