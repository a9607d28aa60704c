import { type RewardFunction } from '@espalier/spec';
/** What a row may hold for this reward. */
export interface EchoRow extends Record<string, unknown> {
    answer?: string;
}
/** Uses every field of a sample and of a context, gives every form of a reward, and keeps a count that a checkpoint saves. */
export declare function echoReward(options?: {
    penalty?: number;
}): RewardFunction<EchoRow>;
