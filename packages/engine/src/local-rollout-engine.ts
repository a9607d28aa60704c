import { EspalierError, type RolloutEngine } from '@espalier/spec';
import { continuationLogps } from './continuation-logps';
import type { Engine } from './engine';

/**
 * An engine as a {@link RolloutEngine}: it samples with the weights that its learner trains, so that taking over new weights moves nothing.
 * Closing it leaves the engine open: that belongs to whoever opened it.
 *
 * @example
 * const engine = await openEngine({ model });
 * const rollouts = localRolloutEngine(engine);
 * for await (const completion of rollouts.generate([{ id: 'a', prompt, seed: 1, n: 8 }])) console.log(completion.text);
 */
export function localRolloutEngine(engine: Engine): RolloutEngine {
  let closed = false;
  const open = () => {
    if (closed) throw new EspalierError('closed', 'the rollout engine is closed');
    return engine;
  };
  return {
    specVersion: 'v1',
    name: 'local',
    capabilities: { tokenIds: true, logps: true, sync: 'memory', ...(engine.info.samplerWeights && { rounded: true }) },
    generate: (requests, options) => open().generate(requests, options),
    score: async (sequences) => open().score(sequences),
    scoreContinuations: async (questions, { signal } = {}) => continuationLogps(open().learner, questions, signal),
    sync: async (weights) => {
      if (weights.kind !== 'memory' || weights.id !== open().info.id) {
        throw new EspalierError('unsupported', `the local rollout engine samples with its own learner's weights and cannot take over ${weights.kind === 'memory' ? "another engine's" : `weights from ${weights.uri}`}`, {
          fix: 'publish from the learner of the same engine, or open an engine with those weights',
        });
      }
    },
    close: async () => {
      closed = true;
    },
  };
}
