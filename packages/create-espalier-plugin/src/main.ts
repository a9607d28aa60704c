import { readFile } from 'node:fs/promises';
import { relative, resolve } from 'node:path';
import { EspalierError, exitStatus, isEspalierError } from '@espalier/spec';
import { help, readArguments } from './arguments';
import { ask } from './ask';
import { kinds } from './kinds';
import { readPluginName } from './plugin-name';
import { demandEmpty, scaffold, type Scaffolded } from './scaffold';

/** The exit status of a program that was stopped by Ctrl-C. */
const interrupted = 130;

/**
 * Runs `create-espalier-plugin`.
 * @param argv the arguments after the program's name
 * @returns the exit status: 0 written, 1 failed, 2 wrong usage, 130 cancelled
 */
export async function run(argv: readonly string[]): Promise<number> {
  try {
    const given = readArguments(argv);
    if (given.help || given.version) {
      process.stdout.write(given.help ? help : `${await version()}\n`);
      return 0;
    }
    if (given.name !== undefined || given.dir !== undefined) await demandEmpty(resolve(given.dir ?? readPluginName(given.name!).folder)); // before anything is asked
    const asking = !given.yes && process.stdin.isTTY === true && process.stdout.isTTY === true;
    const answered = asking && (given.name === undefined || given.kind === undefined) ? await ask(given) : given;
    if (answered === null) return interrupted;
    const { name, kind } = answered;
    const { dir, description } = given;
    const missing = name === undefined ? 'no name was given' : kind === undefined ? 'no --kind was given' : null;
    if (name === undefined || kind === undefined) throw new EspalierError('usage', `${missing}, and nothing is asked ${given.yes ? 'with --yes' : 'without a terminal'}`, { fix: `such as: npm create espalier-plugin ${name ?? 'short-answers'} -- --kind ${kind ?? 'reward'}` });
    const made = await scaffold({ name, kind, ...(dir === undefined ? {} : { dir }), ...(description === undefined ? {} : { description }) });
    process.stdout.write(summary(made, kinds[kind].label));
    return 0;
  } catch (error) {
    process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`);
    if (process.env.ESPALIER_DEBUG === '1' || !isEspalierError(error)) process.stderr.write(`${error instanceof Error ? error.stack : ''}\n`);
    return exitStatus(error);
  }
}

function summary({ name, dir, files }: Scaffolded, label: string): string {
  const folder = relative(process.cwd(), dir) || '.';
  return `${name.package}, with the ${label} "${name.part}": ${files.length} files in ${folder}

${folder === '.' ? '' : `  cd ${/\s/.test(folder) ? `"${folder}"` : folder}\n`}  git init && npm install
  npm run check      # builds, type-checks, lints, tests, and looks at what would be published

README.md says how it is used and published.
`;
}

async function version(): Promise<string> {
  return (JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version;
}

/** {@link run}, whose status becomes that of the process. */
export async function main(argv: readonly string[]): Promise<void> {
  process.exitCode = await run(argv);
}
