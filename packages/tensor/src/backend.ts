import { createRequire } from 'node:module';
import { nativeStatus, registerNativeBackend } from '@espalier/native';
import type { NativeFeatures } from '@espalier/native';
import { EspalierError } from '@espalier/spec';
import { getBackend, setBackend } from '@tensorflow/tfjs-core';
import './ops';
import { checkPrecisionSetting, matmulPrecision } from './precision';
import type { MatmulPrecision } from './precision';

export const backendNames = ['native', 'tensorflow-gpu', 'tensorflow', 'wasm', 'cpu'] as const;
/** `native`: Rust kernels; `tensorflow-gpu`, `tensorflow`: TensorFlow's C library through `@tensorflow/tfjs-node(-gpu)`; `wasm`, `cpu`: tfjs's own. */
export type BackendName = (typeof backendNames)[number];

/** What became of one backend. */
export interface BackendAttempt {
  name: BackendName;
  available: boolean;
  /** Why not, or what was found. */
  reason: string;
}

export interface BackendReport {
  name: BackendName;
  attempts: readonly BackendAttempt[];
  precision: MatmulPrecision;
}

/** The name of tfjs's registry: both TensorFlow packages register as `tensorflow`. */
const registered: Record<BackendName, string> = { native: 'native', 'tensorflow-gpu': 'tensorflow', tensorflow: 'tensorflow', wasm: 'wasm', cpu: 'cpu' };

/**
 * Selects the backend that every tensor of this thread lives on: the asked-for one, or the best that is here (native, tensorflow-gpu, tensorflow, wasm, cpu).
 * @param preference default: the environment's `ESPALIER_BACKEND`, else none
 * @throws EspalierError `backend_unavailable` when the one that was asked for is not here; `usage` for an unknown name
 * @example
 * const { name } = await selectBackend();
 */
export async function selectBackend(preference: string | undefined = process.env.ESPALIER_BACKEND || undefined): Promise<BackendReport> {
  if (preference !== undefined && !backendNames.includes(preference as BackendName)) {
    throw new EspalierError('usage', `there is no backend "${preference}"`, { fix: `one of ${backendNames.join(', ')}` });
  }
  checkPrecisionSetting();
  const attempts: BackendAttempt[] = [];
  for (const name of preference ? [preference as BackendName] : backendNames) {
    const attempt = await probe(name);
    attempts.push(attempt);
    if (!attempt.available) continue;
    if (await setBackend(registered[name])) return { name, attempts, precision: matmulPrecision() };
    attempts[attempts.length - 1] = { name, available: false, reason: 'it was found but did not start' };
  }
  throw new EspalierError('backend_unavailable', `the backend "${preference}" is not available: ${attempts[0].reason}`, { fix: 'leave the choice open, or run `espalier doctor`' });
}

/** What every backend would do on this machine, without selecting one. */
export async function probeBackends(): Promise<BackendAttempt[]> {
  const attempts: BackendAttempt[] = [];
  for (const name of backendNames) attempts.push(await probe(name));
  return attempts;
}

/** The backend in use, by tfjs's name. */
export const currentBackend = (): string => getBackend();

async function probe(name: BackendName): Promise<BackendAttempt> {
  try {
    switch (name) {
      case 'native': {
        const status = nativeStatus();
        return registerNativeBackend() ? { name, available: true, reason: describe(status.features) } : { name, available: false, reason: status.reason };
      }
      case 'tensorflow-gpu':
        return { name, ...loadTensorflow('@tensorflow/tfjs-node-gpu') };
      case 'tensorflow':
        return { name, ...loadTensorflow('@tensorflow/tfjs-node') };
      case 'wasm': {
        const wasm = '@tensorflow/tfjs-backend-wasm'; // an optional peer: no static import
        await import(wasm);
        return { name, available: true, reason: 'one thread, at most 4 GB' };
      }
      case 'cpu':
        return { name, available: true, reason: 'plain JavaScript: for tests and tiny models' };
    }
  } catch (error) {
    return { name, available: false, reason: firstLine(error) };
  }
}

function describe(features: NativeFeatures | null): string {
  if (!features) return 'the Rust library is loaded';
  const extensions = (['avx2', 'avx512', 'avx512Bf16', 'amxBf16'] as const).filter((name) => features[name]);
  return `Rust kernels on ${features.threads} threads; ${features.arch}${extensions.length > 0 ? ` with ${extensions.join(', ')}` : ''}`;
}

/** The package's own console chatter aside, a missing package or library throws; the message says which. */
function loadTensorflow(packageName: string): { available: boolean; reason: string } {
  const require = createRequire(import.meta.url);
  shimNodeUtil(require('node:util') as Record<string, unknown>);
  require(packageName);
  return { available: true, reason: `${packageName} loaded` };
}

/** tfjs-node 4.22 calls helpers that Node 23 removed from `util`. */
function shimNodeUtil(util: Record<string, unknown>): void {
  util.isNullOrUndefined ??= (x: unknown) => x === null || x === undefined;
  util.isArray ??= Array.isArray;
}

function firstLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.split('\n')[0];
}
