import { type RolloutEngine } from '@espalier/spec';
/** A rollout engine without a model, with every method of the contract. */
export declare function countingEngine(_options?: Record<string, unknown>): RolloutEngine;
