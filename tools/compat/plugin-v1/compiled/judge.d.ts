import { type Judge } from '@espalier/spec';
/** Prefers the shorter answer, one by one and many at once. */
export declare function brevityJudge(_options?: Record<string, unknown>): Judge;
