import { add, constant, div, exp, firstNonFinite, gradients, log, mul, neg, sub, sum, variable } from '@espalier/objectives';
import { defineObjective, EspalierError, type Objective } from '@espalier/spec';

export interface __PascalName__Options {
  /** How much less a token counts the surer the model is of it. Default 2; 0: the plain negative log-likelihood. */
  gamma?: number;
}

/**
 * The focal loss (Lin et al. 2017, 1708.02002, eq. 4) on tokens: −(1 − p)^γ · log p, in the mean over the tokens of the optimiser step. The column `weights`
 * of the batch, where there is one, says how much each token counts.
 *
 * @throws EspalierError `bad_config`; on evaluation `internal`, when a log-prob is not finite
 * @example
 * const { loss, grads } = __camelName__Objective({ gamma: 2 }).evaluate({ logps }, batch);
 */
export function __camelName__Objective(options: __PascalName__Options = {}): Objective {
  const gamma = Number(options.gamma ?? 2);
  if (!(gamma >= 0 && gamma < Infinity)) throw new EspalierError('bad_config', `__name__: \`gamma\` is ${JSON.stringify(options.gamma)}`, { fix: 'a number from 0' });
  return defineObjective({
    name: '__name__',
    needs: ['logps'],
    coupling: 'token', // no token's loss looks at another: a step may be cut between any two
    evaluate(outputs, batch) {
      const given = outputs.logps;
      if (!given || firstNonFinite(given) >= 0) throw new EspalierError('internal', '__name__: a log-prob is missing or not finite', { fix: 'a lower learning rate' });
      const logps = variable(given); // [A]
      const weights = constant(batch.columns.weights ?? new Float32Array(given.length).fill(1)); // [A]
      const unsure = exp(mul(log(add(sub(1, exp(logps)), 1e-8)), gamma)); // (1 − p)^γ
      const perToken = neg(mul(mul(unsure, logps), weights));
      const loss = div(sum(perToken), Math.max(batch.normalizer.tokens, 1)); // the whole step's tokens: parts add up
      const [forLogps] = gradients(loss, [logps]);
      return {
        loss: loss.item(),
        grads: { logps: new Float32Array(forLogps) },
        metrics: { confidence: { sum: given.reduce((total, logp) => total + Math.exp(logp), 0), weight: given.length } },
      };
    },
  });
}
