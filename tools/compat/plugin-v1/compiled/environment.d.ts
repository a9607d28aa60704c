import { type Environment } from '@espalier/spec';
export interface CountdownRow extends Record<string, unknown> {
    from?: number;
}
/** Count down to nothing: a tool's answers, rewards on the way, an end. */
export declare function countdownEnvironment(options?: {
    from?: number;
}): Environment<CountdownRow>;
