/** The language-model loss beside the policy's is the trainer's: every on-policy method can have it. */
export { lmLoss, lmObjective, type LmLossOptions } from '@espalier/trainer';
