import { allCommands, type CompletedCommand } from './describe-program';

const words = (list: readonly { flag: string }[]): string => list.map(({ flag }) => flag).join(' ');

/** The script for bash: `source <(espalier completion bash)`. */
export function bashCompletion(program: CompletedCommand): string {
  const commands = allCommands(program);
  const groups = commands.filter(({ subcommands }) => subcommands.length > 0);
  const choices = commands.flatMap(({ path, flags }) => flags.filter((flag) => flag.choices).map(({ flag, choices }) => `    '${path} ${flag}') COMPREPLY=($(compgen -W '${choices!.join(' ')}' -- "$cur")); return ;;`));
  const needs = commands.flatMap(({ path, flags }) => flags.filter(({ takesValue, choices }) => takesValue && !choices).map(({ flag }) => `'${path} ${flag}'`));
  return `# bash completion for espalier: source <(espalier completion bash)
_espalier() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="" command="" i word
  [ "$COMP_CWORD" -gt 0 ] && prev="\${COMP_WORDS[COMP_CWORD-1]}"
  # bash takes --flag=value apart at the sign
  if [ "$cur" = "=" ]; then cur=""; elif [ "$prev" = "=" ] && [ "$COMP_CWORD" -gt 1 ]; then prev="\${COMP_WORDS[COMP_CWORD-2]}"; fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    case "$command" in
      '') case "$word" in -*) ;; *) command="$word" ;; esac ;;
${groups.map(({ path, subcommands }) => `      '${path}') case "$word" in ${subcommands.map((inner) => inner.path.split(' ').at(-1)).join('|')}) command="${path} $word" ;; esac ;;`).join('\n')}
    esac
  done
  case "$command $prev" in
${choices.join('\n')}
    ${needs.join('|\\\n    ')}) COMPREPLY=(); return ;;
  esac
  case "$command" in
    '') COMPREPLY=($(compgen -W '${program.subcommands.map(({ path }) => path).join(' ')} --help --version' -- "$cur")) ;;
${commands
  .map(({ path, flags, subcommands }) => `    '${path}') COMPREPLY=($(compgen -W '${[...subcommands.map((inner) => inner.path.split(' ').at(-1)), words(flags)].join(' ')}' -- "$cur")) ;;`)
  .join('\n')}
  esac
}
complete -o default -F _espalier espalier
`;
}
