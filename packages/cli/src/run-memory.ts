import { existsSync, readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { EspalierError } from '@espalier/spec';
import { writeFileDurably } from '@espalier/spec/files';

const fileName = 'command.json';

/** Flags that name something on the disk: kept as absolute paths, so that a run can be resumed from another folder. */
const paths = ['model', 'dataset', 'evalDataset'];
/** Flags of one call alone. */
const passing = ['resume', 'outputDir', 'overwriteOutputDir', 'dryRun'];

interface Remembered {
  command: string;
  flags: Record<string, unknown>;
}

/** Writes into a run's folder how it was started, so that `--resume --output-dir DIR` is all it takes to go on. */
export async function rememberRun(dir: string, command: string, given: Readonly<Record<string, unknown>>): Promise<void> {
  const flags: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(given)) {
    if (passing.includes(name)) continue;
    flags[name] = paths.includes(name) && typeof value === 'string' && existsSync(value) ? resolve(value) : value;
  }
  const file = join(dir, fileName);
  await mkdir(dir, { recursive: true });
  await writeFileDurably(file, `${JSON.stringify({ command, flags } satisfies Remembered, null, 2)}\n`);
}

/**
 * With `--resume`: the flags that the run was started with, under those that are given now.
 * @throws EspalierError `usage` without `--output-dir`, or when the run belongs to another command
 */
export function recallRun(command: string, given: Record<string, unknown>): Record<string, unknown> {
  const { resume, outputDir } = given;
  if (resume === undefined || resume === false) return given;
  if (typeof outputDir !== 'string') throw new EspalierError('usage', '--resume is given without --output-dir', { fix: 'name the run, such as --output-dir runs/sums' });
  const file = join(outputDir, fileName);
  if (!existsSync(file)) return given;
  let remembered: Remembered;
  try {
    remembered = JSON.parse(readFileSync(file, 'utf8')) as Remembered;
  } catch (error) {
    throw new EspalierError('bad_config', `${file} cannot be read: ${(error as Error).message}`, { fix: 'remove it and give the flags again' });
  }
  if (remembered.command !== command) throw new EspalierError('usage', `${outputDir} holds a run of espalier ${remembered.command}, not ${command}`, { fix: `espalier ${remembered.command} --resume --output-dir ${outputDir}` });
  const merged = { ...remembered.flags, ...given };
  // One source of rows replaces the other.
  if (given['dataset'] !== undefined) delete merged['task'];
  if (given['task'] !== undefined) delete merged['dataset'];
  return merged;
}
