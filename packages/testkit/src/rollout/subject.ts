import type { GenerateRequest, RolloutEngine, SamplingOptions, WeightsHandle } from '@espalier/spec';
import { factoryOf, type PartOrFactory } from '../check';

export interface RolloutEngineOptions {
  /** Prompts of at least one token of the engine's vocabulary. Default: three of small ids. */
  prompts?: readonly Int32Array[];
  /** New tokens of most requests. Default 8. */
  maxNewTokens?: number;
  /** New tokens of a request that is to be aborted while it runs: enough to take a while. Default 48. */
  longest?: number;
  /** How far a log-prob may be from what `score` says, or from that of another batch, in nats. Default 1e-3. */
  tolerance?: number;
  /** Milliseconds in which a generation must end once its signal has fired. Default 10 000. */
  patience?: number;
  /** Weights that the engine can take over. Default: none are tried. */
  weights?: () => WeightsHandle | Promise<WeightsHandle>;
}

export interface RolloutEngineSubject extends Required<Omit<RolloutEngineOptions, 'weights'>>, Pick<RolloutEngineOptions, 'weights'> {
  create(): Promise<RolloutEngine>;
  /** A request for prompt `i`. It goes on through end-of-sequence tokens unless `sampling` says otherwise. */
  request(i: number, more?: Partial<GenerateRequest>): GenerateRequest;
}

/**
 * What the checks of a rollout engine run on.
 * @example
 * await rolloutEngineChecks['answers no request with nothing'](rolloutEngineSubject(() => myEngine()));
 */
export function rolloutEngineSubject(engine: PartOrFactory<RolloutEngine>, options: RolloutEngineOptions = {}): RolloutEngineSubject {
  const { prompts = [Int32Array.of(5, 6, 7), Int32Array.of(9, 4), Int32Array.of(5, 6, 8, 10)], maxNewTokens = 8, longest = 48, tolerance = 1e-3, patience = 10_000, weights } = options;
  const sampling: SamplingOptions = { maxNewTokens, temperature: 1 };
  return {
    create: factoryOf(engine), prompts, maxNewTokens, longest, tolerance, patience, ...(weights && { weights }),
    request: (i, more = {}) => ({ id: `request ${i}`, prompt: Int32Array.from(prompts[i % prompts.length]), seed: 1000 + i, n: 1, ...more, sampling: { ...sampling, ...more.sampling } }),
  };
}
