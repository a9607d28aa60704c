import { availableParallelism, cpus, freemem, platform, release, totalmem, arch } from 'node:os';
import { formatTable } from '@espalier/pipeline';
import { isEspalierError } from '@espalier/spec';
import { buildCommand } from '../command';

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;

/** What this machine can do, as `doctor --json` prints it. */
export async function examine() {
  const [{ nativeStatus }, { matmulPrecision, probeBackends, selectBackend }] = await Promise.all([import('@espalier/native'), import('@espalier/tensor')]);
  const backends = await probeBackends();
  let chosen: string | null = null;
  let problem: string | null = null;
  try {
    chosen = (await selectBackend()).name;
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
    shape: {},
    async run(_values, { output }) {
      const found = await examine();
      await output.result(found);
      const { memory } = found;
      output.line(`node        ${found.node} on ${found.platform}`);
      output.line(`processor   ${found.processor}, ${found.cores} cores`);
      output.line(`memory      ${gigabytes(memory.total)}, ${gigabytes(memory.free)} free`);
      output.line(`backend     ${found.backend ?? `none: ${found.problem}`}${found.precision ? `, products in ${found.precision}` : ''}`);
      const features = Object.entries(found.native.features ?? {}).filter(([, value]) => value === true).map(([name]) => name);
      output.line(`native      ${found.native.available ? `${found.threads} threads${features.length > 0 ? `, ${features.join(', ')}` : ''}` : found.native.reason}`);
      output.line();
      output.line(formatTable(['backend', 'here', ''], found.backends.map(({ name, available, reason }) => [name, available ? 'yes' : 'no', reason])).replace(/[ ]+$/gm, ''));
    },
  });
