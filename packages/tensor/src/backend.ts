import { nativeStatus, registerNativeBackend } from '@espalier/native';
import type { NativeFeatures } from '@espalier/native';
import { EspalierError } from '@espalier/spec';
import { getBackend, setBackend } from '@tensorflow/tfjs-core';
import { backendFacts } from './backend-facts';
import './ops';
import './tensorflow/kernels';
import './wasm-kernels';
import { checkProcessorSettings, matmulPrecision } from './precision';
import type { MatmulPrecision } from './precision';
import { hasGpu, loadTensorflow, loadedTensorflow, locateTensorflow, type TensorflowPackage } from './tensorflow-package';

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
  /** One line for the user, where another backend than the one that was asked for serves. */
  notice?: string;
}

/** The name of tfjs's registry: both TensorFlow packages register as `tensorflow`. */
const registered: Record<BackendName, string> = { native: 'native', 'tensorflow-gpu': 'tensorflow', tensorflow: 'tensorflow', wasm: 'wasm', cpu: 'cpu' };

/**
 * Selects the backend that every tensor of this thread lives on: the asked-for one, or the best that is here (native, tensorflow-gpu, tensorflow, wasm, cpu).
 * `tensorflow-gpu` on a machine without a GPU falls back to `tensorflow`, and the report's `notice` says so.
 * @param preference default: the environment's `ESPALIER_BACKEND`, else none
 * @throws EspalierError `backend_unavailable` when the one that was asked for is not here; `usage` for an unknown name
 * @example
 * const { name } = await selectBackend();
 */
export async function selectBackend(preference: string | undefined = process.env.ESPALIER_BACKEND || undefined): Promise<BackendReport> {
  if (preference !== undefined && !backendNames.includes(preference as BackendName)) {
    throw new EspalierError('usage', `there is no backend "${preference}"`, { fix: `one of ${backendNames.join(', ')}` });
  }
  checkProcessorSettings();
  const attempts: BackendAttempt[] = [];
  for (const name of candidates(preference as BackendName | undefined)) {
    const attempt = await probe(name);
    attempts.push(attempt);
    if (!attempt.available) continue;
    if (await setBackend(registered[name])) {
      const notice = preference === 'tensorflow-gpu' && name !== preference ? `espalier: the backend is ${name} on the processor, not tensorflow-gpu: ${attempts[0].reason}` : undefined;
      return { name, attempts, precision: matmulPrecision(), ...(notice && { notice }) };
    }
    attempts[attempts.length - 1] = { name, available: false, reason: 'it was found but did not start' };
  }
  throw new EspalierError('backend_unavailable', `the backend "${preference}" is not available: ${attempts[0].reason}`, { fix: 'leave the choice open, or run `espalier doctor`' });
}

/** What is tried, in this order. The package for GPUs, where it is installed, has the processor to fall back to. */
function candidates(preference: BackendName | undefined): readonly BackendName[] {
  if (preference === undefined) return backendNames;
  return preference === 'tensorflow-gpu' && isInstalled('@tensorflow/tfjs-node-gpu') ? ['tensorflow-gpu', 'tensorflow'] : [preference];
}

function isInstalled(name: TensorflowPackage): boolean {
  try {
    return locateTensorflow(name) !== '';
  } catch {
    return false;
  }
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
        return { name, ...probeGpu() };
      case 'tensorflow':
        return { name, ...probeTensorflow() };
      case 'wasm': {
        const wasm = '@tensorflow/tfjs-backend-wasm'; // an optional peer: no static import
        await import(wasm);
        return { name, available: true, reason: `${backendFacts.wasm.threads} thread, at most ${backendFacts.wasm.memoryLimit! / 2 ** 30} GB` };
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

type Found = Omit<BackendAttempt, 'name'>;

function probeGpu(): Found {
  locateTensorflow('@tensorflow/tfjs-node-gpu');
  if (!hasGpu()) return { available: false, reason: 'there is no NVIDIA GPU here that programs may use' };
  const { gpu, version } = loadTensorflow('@tensorflow/tfjs-node-gpu');
  return gpu ? { available: true, reason: `TensorFlow ${version} on a GPU` } : { available: false, reason: `TensorFlow ${version} can use no GPU here: is its driver there, and new enough for CUDA 12?` };
}

/** On the processor: by the package for it, else by the one for GPUs, which computes there too where it finds none. */
function probeTensorflow(): Found {
  const name = '@tensorflow/tfjs-node';
  const other = loadedTensorflow();
  if (other && other.name !== name) return other.gpu ? { available: false, reason: `${other.name} has its place in this process` } : { available: true, reason: `TensorFlow ${other.version} on the processor, by ${other.name}` };
  try {
    return { available: true, reason: `TensorFlow ${loadTensorflow(name).version} on the processor` };
  } catch (error) {
    if (hasGpu() || !isInstalled('@tensorflow/tfjs-node-gpu')) throw error; // neither is here: the message names the smaller one
    return { available: true, reason: `TensorFlow ${loadTensorflow('@tensorflow/tfjs-node-gpu').version} on the processor, by @tensorflow/tfjs-node-gpu` };
  }
}

function firstLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.split('\n')[0];
}
