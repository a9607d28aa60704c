import { allCommands, type CompletedCommand } from './describe-program';

const described = (name: string, text: string): string => `'${name.replaceAll(':', '\\:')}:${text}'`; // descriptions hold no quotes

/** The script for zsh: `source <(espalier completion zsh)`, after `compinit`; or a file `_espalier` in a folder of `fpath`. */
export function zshCompletion(program: CompletedCommand): string {
  const commands = allCommands(program);
  const groups = commands.filter(({ subcommands }) => subcommands.length > 0);
  const choices = commands.flatMap(({ path, flags }) => flags.filter((flag) => flag.choices).map(({ flag, choices }) => `    '${path} ${flag}') compadd -- ${choices!.map((choice) => `'${choice}'`).join(' ')}; return ;;`));
  const needs = commands.flatMap(({ path, flags }) => flags.filter(({ takesValue, choices }) => takesValue && !choices).map(({ flag }) => `'${path} ${flag}'`));
  return `#compdef espalier
# zsh completion for espalier: source <(espalier completion zsh)
_espalier() {
  local command='' word i
  local -a found
  for ((i = 2; i < CURRENT; i++)); do
    word="\${words[i]}"
    case "$command" in
      '') case "$word" in -*) ;; *) command="$word" ;; esac ;;
${groups.map(({ path, subcommands }) => `      '${path}') case "$word" in ${subcommands.map((inner) => inner.path.split(' ').at(-1)).join('|')}) command="${path} $word" ;; esac ;;`).join('\n')}
    esac
  done
  case "$command \${words[CURRENT-1]}" in
${choices.join('\n')}
    ${needs.join('|\\\n    ')}) _files; return ;;
  esac
  case "$command" in
    '') found=(${program.subcommands.map(({ path, summary }) => described(path, summary)).join(' ')}) ;;
${commands.map(({ path, flags, subcommands }) => `    '${path}') found=(${[...subcommands.map((inner) => described(inner.path.split(' ').at(-1)!, inner.summary)), ...flags.map(({ flag, description }) => described(flag, description))].join(' ')}) ;;`).join('\n')}
  esac
  _describe -o espalier found || _files
}
if [ "$funcstack[1]" = "_espalier" ]; then _espalier "$@"; else compdef _espalier espalier; fi
`;
}
