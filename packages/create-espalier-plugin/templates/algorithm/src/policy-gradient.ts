import { defineObjective, EspalierError } from '@espalier/spec';

/** The policy gradient, −A · log p in the mean over the tokens of the step (Williams 1992). Its derivative is −A. */
export const policyGradient = defineObjective({
  name: '__name__',
  needs: ['logps'],
  coupling: 'token',
  evaluate({ logps }, { columns: { advantages }, normalizer }) {
    if (!logps?.every(Number.isFinite)) throw new EspalierError('internal', '__name__: a log-prob is missing or not finite', { fix: 'a lower learning rate' });
    const tokens = Math.max(normalizer.tokens, 1);
    const total = logps.reduce((sum, logp, a) => sum - advantages[a] * logp, 0);
    return {
      loss: total / tokens,
      grads: { logps: advantages.map((advantage) => -advantage / tokens) },
      metrics: { logp: { sum: logps.reduce((sum, logp) => sum + logp, 0), weight: logps.length } },
    };
  },
  inert: ({ columns: { advantages } }) => Uint8Array.from(advantages, (advantage) => (advantage === 0 ? 1 : 0)), // no need to compute their gradient
});
