import { describeObjective } from '@espalier/testkit';
import { sftObjective } from './index';

const negated = (logps: Float32Array, weight: (a: number) => number) => -logps.reduce((sum, logp, a) => sum + weight(a) * logp, 0);

describeObjective(sftObjective());
describeObjective(sftObjective({ lossType: 'dft' }), {
  // each token's probability weighs its loss, as a constant (2508.05629 eq. 9)
  surrogate: ({ logps }, anchor, { normalizer }) => negated(logps!, (a) => Math.exp(anchor.logps![a])) / normalizer.tokens,
});
