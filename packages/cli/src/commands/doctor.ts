import { availableParallelism, cpus, freemem, platform, release, totalmem, arch } from 'node:os';
import { formatTable } from '@espalier/pipeline';
import { EspalierError, isEspalierError } from '@espalier/spec';
import { z } from 'zod';
import { buildCommand } from '../command';
import { selfTest } from './doctor-selftest';
import { modelFields } from './model-fields';

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;

/** What this machine can do, as `doctor --json` prints it. @param backend default: the best that is here */
export async function examine(backend?: string) {
  const [{ nativeStatus }, { matmulPrecision, probeBackends, selectBackend }] = await Promise.all([import('@espalier/native'), import('@espalier/tensor')]);
  const backends = await probeBackends();
  let chosen: string | null = null;
  let problem: string | null = null;
  let notice: string | undefined;
  try {
    ({ name: chosen, notice } = await selectBackend(backend));
  } catch (error) {
    if (!isEspalierError(error)) throw error;
    problem = error.message;
  }
  const native = nativeStatus();
  const processor = cpus();
  return {
    node: process.version,
    platform: `${platform()} ${release()} ${arch()}`,
    processor: processor[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memory: { total: totalmem(), free: freemem() },
    backend: chosen,
    ...(problem === null ? {} : { problem }),
    ...(notice && { notice }),
    precision: chosen === null ? null : matmulPrecision(),
    threads: native.features?.threads ?? null,
    native: { available: native.available, reason: native.reason, features: native.features },
    backends,
  };
}

export const doctorCommand = () =>
  buildCommand({
    name: 'doctor',
    summary: 'what this machine can do',
    shape: {
      selftest: z.boolean().default(false).describe('check the backend: every fused operation with its gradient, decoding, the optimiser, a tiny model; status 1 when one is wrong'),
      backend: modelFields.backend,
    },
    async run({ selftest, backend }, { output, signal }) {
      const found = await examine(backend);
      if (selftest) {
        if (found.problem) throw new EspalierError('backend_unavailable', found.problem);
        if (found.notice) output.note(found.notice);
        const tested = await selfTest(found.backend!, output, signal);
        await output.result({ ...found, selftest: tested });
        if (tested.failed > 0) throw new EspalierError('internal', `the backend ${found.backend} fails ${tested.failed} of ${tested.failed + tested.passed} checks`, { fix: 'another --backend serves; please report this one' });
        return;
      }
      await output.result(found);
      const { memory } = found;
      output.line(`node        ${found.node} on ${found.platform}`);
      output.line(`processor   ${found.processor}, ${found.cores} cores`);
      output.line(`memory      ${gigabytes(memory.total)}, ${gigabytes(memory.free)} free`);
      output.line(`backend     ${found.backend ?? `none: ${found.problem}`}${found.precision ? `, products in ${found.precision}` : ''}`);
      if (found.notice) output.note(found.notice);
      const features = Object.entries(found.native.features ?? {}).filter(([, value]) => value === true).map(([name]) => name);
      output.line(`native      ${found.native.available ? `${found.threads} threads${features.length > 0 ? `, ${features.join(', ')}` : ''}` : found.native.reason}`);
      output.line();
      output.line(formatTable(['backend', 'here', ''], found.backends.map(({ name, available, reason }) => [name, available ? 'yes' : 'no', reason])).replace(/[ ]+$/gm, ''));
    },
  });
