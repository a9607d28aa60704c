import { allCommands, type CompletedCommand } from './describe-program';

const quoted = (text: string): string => `'${text}'`; // descriptions hold no quotes

/** The script for fish: `espalier completion fish | source`. */
export function fishCompletion(program: CompletedCommand): string {
  const lines = [
    '# fish completion for espalier: espalier completion fish | source',
    'complete -c espalier -f -n __fish_use_subcommand -l version -d version',
    ...program.subcommands.map(({ path, summary }) => `complete -c espalier -f -n __fish_use_subcommand -a ${quoted(path)} -d ${quoted(summary)}`),
  ];
  for (const { path, flags, subcommands } of allCommands(program)) {
    const seen = path.split(' ').map((word) => `__fish_seen_subcommand_from ${word}`).join('; and ');
    const below = subcommands.map((inner) => inner.path.split(' ').at(-1)!);
    for (const inner of subcommands) lines.push(`complete -c espalier -f -n ${quoted(`${seen}; and not __fish_seen_subcommand_from ${below.join(' ')}`)} -a ${quoted(inner.path.split(' ').at(-1)!)} -d ${quoted(inner.summary)}`);
    for (const { flag, description, takesValue, choices } of flags) lines.push(`complete -c espalier -n ${quoted(seen)} -l ${flag.slice(2)} -d ${quoted(description)}${choices ? ` -x -a ${quoted(choices.join(' '))}` : takesValue ? ' -r' : ''}`);
  }
  return `${lines.join('\n')}\n`;
}
