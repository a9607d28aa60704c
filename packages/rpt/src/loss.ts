/** The losses of this package as formulas: no tensor library is loaded. */
export { thoughtAdvantages, thoughtLoss, thoughtTerms, type ThoughtLossOptions, type ThoughtLossResult, type ThoughtTerms } from './information-gain/loss';
export { goldLoss, goldTerms, goldWeights, valueTerms, type GoldLossOptions, type GoldLossResult } from './precision/loss';
