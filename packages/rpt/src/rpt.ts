import type { Algorithm } from '@espalier/spec';
import type { StatefulAlgorithm } from '@espalier/trainer';
import { withKl, type KlOptions } from './kl';

export interface RPTOptions {
  /** Any on-policy algorithm, `grpo({ … })` for one. */
  algorithm: Algorithm | StatefulAlgorithm;
  /** Divergence from the first weights, in the loss or in the reward. Default: none. */
  kl?: KlOptions;
}

/**
 * Reinforcement pre-training: any algorithm on verifiable rewards, held near the first weights where asked. The result is an algorithm again.
 *
 * @throws EspalierError `bad_config`
 *
 * @example
 * const algorithm = rpt({ algorithm: grpo({ numGenerations: 8 }), kl: { coefficient: 0.02, placement: 'reward', adaptive: { target: 6 } } });
 */
export function rpt(options: RPTOptions): Algorithm | StatefulAlgorithm {
  const { algorithm, kl } = options;
  const named = { ...algorithm, name: `rpt(${algorithm.name})` };
  return kl && kl.coefficient > 0 ? withKl(named, kl) : named;
}
