import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Engine } from '@espalier/engine';
import { EspalierError, type RolloutEngine } from '@espalier/spec';

/**
 * A server that samples with the adapter that a local learner trains: each time the trainer hands over new weights, the adapter is written into a folder of
 * its own below `dir`, which the server must be able to read under the same path, and the server is told to load it. The two latest folders stay.
 * @throws EspalierError `unsupported` for an engine without LoRA, or a server that loads no adapters
 * @example
 * const rollouts = publishingAdapters(await httpRolloutEngine({ baseUrl, model, training: true }), engine, '/shared/adapters');
 */
export function publishingAdapters(rollouts: RolloutEngine, engine: Pick<Engine, 'info' | 'save'>, dir: string): RolloutEngine {
  if (engine.info.trainableCount >= engine.info.parameterCount) throw new EspalierError('unsupported', 'the engine trains the whole model: there is no adapter to publish', { fix: 'open it with `lora`' });
  if (rollouts.capabilities.sync !== 'adapter' || !rollouts.sync) throw new EspalierError('unsupported', `rollout engine "${rollouts.name}" takes no adapters over`);
  const written: string[] = [];
  let last: string | null = null;
  return {
    ...rollouts,
    sync: async (weights) => {
      if (weights.kind !== 'memory') return rollouts.sync!(weights);
      if (weights.id !== engine.info.id) throw new EspalierError('unsupported', "the weights are another engine's");
      if (last === weights.digest) return;
      const folder = join(dir, `v${weights.version}-${weights.digest.replace(/\W/g, '').slice(0, 12)}`);
      mkdirSync(folder, { recursive: true });
      await engine.save(folder);
      await rollouts.sync!({ kind: 'adapter', uri: folder, version: weights.version, digest: weights.digest });
      last = weights.digest;
      if (!written.includes(folder)) written.push(folder);
      while (written.length > 2) rmSync(written.shift()!, { recursive: true, force: true });
    },
  };
}
