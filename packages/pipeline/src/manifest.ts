import { mkdir, readFile, rename, stat } from 'node:fs/promises';
import { isAbsolute, join, relative, resolve } from 'node:path';
import { EspalierError, type Artifacts } from '@espalier/spec';
import { writeFileDurably } from '@espalier/spec/files';
import { digestPath } from './digest';

/** What is known of one stage of a run. */
export interface StageRecord {
  name: string;
  /** The stage's folder, inside the run's. */
  folder: string;
  status: 'running' | 'done';
  /** Digest of what went in: the stage's name and options, the seed, the digests of the artifacts that it needs. */
  inputDigest: string;
  gives: Partial<Artifacts>;
  metrics: Record<string, number>;
  seconds: number;
}

/** `pipeline.json` in a run's folder. */
export interface Manifest {
  format: 'espalier-pipeline-v1';
  seed: number;
  stages: StageRecord[];
}

const fileName = 'pipeline.json';

/** Paths inside the run are kept relative, so that a run's folder may move. */
function mapPaths(gives: Partial<Artifacts>, map: (path: string) => string): Partial<Artifacts> {
  return Object.fromEntries(Object.entries(gives).map(([name, handle]) => [name, { ...handle, path: map(handle.path) }])) as Partial<Artifacts>;
}

/** @returns null when the folder holds no run */
export async function readManifest(runDir: string): Promise<Manifest | null> {
  const path = join(runDir, fileName);
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null;
    throw new EspalierError('io', `cannot read ${path}: ${error.message}`, { cause: error });
  });
  if (text === null) return null;
  const damaged = (cause?: unknown) => new EspalierError('bad_config', `${path} is not a pipeline's record`, { fix: 'choose another output directory', cause });
  let manifest: Manifest;
  try {
    manifest = JSON.parse(text) as Manifest;
  } catch (error) {
    throw damaged(error);
  }
  if (manifest?.format !== 'espalier-pipeline-v1' || !Array.isArray(manifest.stages)) throw damaged();
  return { ...manifest, stages: manifest.stages.map((stage) => ({ ...stage, gives: mapPaths(stage.gives, (p) => (isAbsolute(p) ? p : resolve(runDir, p))) })) };
}

export async function writeManifest(runDir: string, manifest: Manifest): Promise<void> {
  const inside = (path: string): string => {
    const rel = relative(runDir, path);
    return isAbsolute(path) && rel !== '' && !rel.startsWith('..') && !isAbsolute(rel) ? rel : path;
  };
  const stored = { ...manifest, stages: manifest.stages.map((stage) => ({ ...stage, gives: mapPaths(stage.gives, inside) })) };
  await writeFileDurably(join(runDir, fileName), `${JSON.stringify(stored, null, 2)}\n`);
}

/** Whether what a finished stage gave is still on the disk, unchanged. */
export async function stillThere(gives: Partial<Artifacts>): Promise<boolean> {
  for (const handle of Object.values(gives)) {
    if (handle.kind === 'metrics') {
      if (!(await stat(handle.path).catch(() => null))) return false;
    } else if (isAbsolute(handle.path) && (await digestPath(handle.path).catch(() => null)) !== handle.digest) return false;
  }
  return true;
}

/** Moves a stage's folder out of the way without losing what is in it. */
export async function setAside(dir: string): Promise<void> {
  if (!(await stat(dir).catch(() => null))) return;
  for (let n = 1; ; n++) {
    const target = `${dir}.previous-${n}`;
    if (await stat(target).catch(() => null)) continue;
    await rename(dir, target);
    return;
  }
}

/** Makes a stage's folder. */
export async function makeFolder(dir: string): Promise<void> {
  await mkdir(dir, { recursive: true }).catch((error: NodeJS.ErrnoException) => {
    throw new EspalierError(error.code === 'ENOSPC' ? 'no_space' : 'io', `cannot make the folder ${dir}: ${error.message}`, { cause: error });
  });
}
