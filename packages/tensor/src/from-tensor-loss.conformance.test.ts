import { describeObjective } from '@espalier/testkit';
import { fromTensorLoss } from './from-tensor-loss';
import { selectBackend } from './backend';
import { testBackend } from './testing';
import { add, div, mul, neg, square, sub, sum } from './tfjs';

await selectBackend(testBackend());

describeObjective(
  fromTensorLoss('weighted', { needs: ['logps', 'entropy'] }, ({ logps, entropy }, { weights, refLogps }, { normalizer }) =>
    div(sum(mul(weights, sub(add(neg(logps), mul(0.1, square(sub(logps, refLogps)))), mul(0.01, entropy)))), Math.max(normalizer.tokens, 1)),
  ),
  { tolerance: 1e-2 }, // tfjs computes in fp32
);
