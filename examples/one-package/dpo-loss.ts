// npm install @espalier/dpo
import { dpoLoss } from '@espalier/dpo/loss';

/** Sums of log-probs of two pairs, under the policy and under the reference: numbers from whatever computes them. */
const pairs = { chosenLogps: [-10, -8], rejectedLogps: [-15, -9], refChosenLogps: [-12, -7], refRejectedLogps: [-14, -9.5] };

for (const lossType of ['sigmoid', 'hinge', 'apo_zero'] as const) {
  const { loss, grads, metrics } = dpoLoss(pairs, { lossType, beta: 0.1 });
  const gradient = grads.chosenLogps.map((value) => Number(value).toFixed(4));
  console.log(`${lossType.padEnd(8)} loss ${loss.toFixed(4)}  by the chosen log-probs ${gradient.join(', ')}  margin ${metrics['rewards/margins'].toFixed(3)}`);
}
