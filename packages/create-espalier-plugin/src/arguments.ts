import { parseArgs } from 'node:util';
import { EspalierError } from '@espalier/spec';
import { isKind, kindNames, kinds, type Kind } from './kinds';
import { readPluginName } from './plugin-name';

/** What was given on the command line; what is missing is asked for. */
export interface Arguments {
  help: boolean;
  version: boolean;
  /** Nothing is asked. */
  yes: boolean;
  name?: string;
  kind?: Kind;
  dir?: string;
  description?: string;
}

export const help = `npm create espalier-plugin [NAME] -- [FLAGS]

Writes a plugin of Espalier that builds, lints, tests with @espalier/testkit, and packs. What is not given is asked for.

  NAME                 short-answers makes the package espalier-plugin-short-answers, @me/short-answers
                       makes @me/espalier-plugin-short-answers
  --kind KIND          what it adds first:
${kindNames.map((kind) => `                         ${kind.padEnd(15)} ${kinds[kind].hint}`).join('\n')}
  --dir FOLDER         where to; it is new or empty (default: the package's name without its scope)
  --description TEXT   of the package
  -y, --yes            ask nothing
  -h, --help           this text
  -v, --version        the version of create-espalier-plugin

  npm create espalier-plugin short-answers -- --kind reward --yes

Exit status: 0 written, 1 failed, 2 wrong usage, 130 cancelled.
`;

/**
 * Reads the command line.
 * @throws EspalierError `usage`
 */
export function readArguments(argv: readonly string[]): Arguments {
  const { values, positionals } = parsed(argv);
  if (values.kind !== undefined && !isKind(values.kind)) throw new EspalierError('usage', `--kind ${values.kind}: there is no such kind`, { fix: `one of ${kindNames.join(', ')}` });
  if (positionals.length > 1) throw new EspalierError('usage', `one name is taken, ${positionals.length} were given: ${positionals.join(', ')}`, { fix: 'npm create espalier-plugin NAME -- --kind KIND (npm keeps the flags before the `--` for itself)' });
  const [name] = positionals;
  if (name !== undefined) readPluginName(name);
  for (const flag of ['dir', 'description'] as const) if (values[flag]?.trim() === '') throw new EspalierError('usage', `--${flag} is empty`, { fix: 'give it a value, or leave it out' });
  return {
    help: values.help ?? false,
    version: values.version ?? false,
    yes: values.yes ?? false,
    ...(name === undefined ? {} : { name }),
    ...(values.kind === undefined ? {} : { kind: values.kind }),
    ...(values.dir === undefined ? {} : { dir: values.dir }),
    ...(values.description === undefined ? {} : { description: values.description.trim() }),
  };
}

function parsed(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        kind: { type: 'string' },
        dir: { type: 'string' },
        description: { type: 'string' },
        yes: { type: 'boolean', short: 'y' },
        help: { type: 'boolean', short: 'h' },
        version: { type: 'boolean', short: 'v' },
      },
    });
  } catch (cause) {
    throw new EspalierError('usage', (cause as Error).message.split('. ')[0], { fix: '--help lists the flags', cause });
  }
}
