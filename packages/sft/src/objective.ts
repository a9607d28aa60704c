import { firstNonFinite, gradients, sum, variable } from '@espalier/objectives';
import { defineObjective, EspalierError, type Objective } from '@espalier/spec';
import { sftTerms, type SFTLossOptions } from './loss';

/**
 * {@link sftLoss} as an objective: every action of the batch is a trained token, and the mean is over the tokens of the whole optimiser step, so
 * that accumulation is exact. Metrics: `nll` (its exponential is the perplexity) and `entropy`, means over tokens.
 *
 * @throws EspalierError on evaluation: `internal` when a log-prob is not finite
 */
export function sftObjective(options: SFTLossOptions = {}): Objective {
  return defineObjective({
    name: options.lossType === 'dft' ? 'dft' : 'sft',
    needs: ['logps', 'entropy'],
    coupling: 'token',
    evaluate(outputs, batch) {
      const given = outputs.logps;
      const count = batch.actionIndex.length;
      if (!given || given.length !== count) throw new EspalierError('internal', `the learner gave ${given ? given.length : 'no'} logps for ${count} actions`);
      const bad = firstNonFinite(given);
      if (bad >= 0) throw new EspalierError('internal', `logps[${bad}] is ${given[bad]}: the weights have diverged`, { fix: 'resume from an earlier checkpoint with a lower `learning_rate`' });
      const logps = variable(given);
      const loss = sftTerms(logps, batch.normalizer, options);
      const metrics = { nll: { sum: -sum(given).item(), weight: count } };
      return {
        loss: loss.item(),
        grads: { logps: new Float32Array(gradients(loss, [logps])[0]) },
        metrics: outputs.entropy ? { ...metrics, entropy: { sum: sum(outputs.entropy).item(), weight: count } } : metrics,
      };
    },
  });
}
