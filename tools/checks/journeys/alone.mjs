// One package alone: a loss of @espalier/dpo on plain arrays. What comes out is computed here from the paper's formula (Rafailov et al., eq. 7).
import assert from 'node:assert/strict';
import { dpoLoss } from '@espalier/dpo/loss';

const pair = { chosenLogps: [-10], rejectedLogps: [-15], refChosenLogps: [-12], refRejectedLogps: [-14], chosenLengths: [4], rejectedLengths: [5] };
const { loss, grads } = dpoLoss(pair, { beta: 0.1 });

const margin = 0.1 * (-10 - -12 - (-15 - -14));
assert.ok(Math.abs(loss - Math.log(1 + Math.exp(-margin))) < 1e-12, `the loss is ${loss}`);
assert.ok(Math.abs(grads.chosenLogps[0] + 0.1 / (1 + Math.exp(margin))) < 1e-12, `its derivative is ${grads.chosenLogps[0]}`);
console.log(`loss ${loss.toFixed(4)}`);
