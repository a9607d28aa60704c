import { EspalierError, type OptimOptions, type ParameterGroup } from '@espalier/spec';

/** How one parameter is stepped. */
export interface StepSettings {
  learningRate: number;
  weightDecay: number;
}

/**
 * Learning rate and decay of every parameter: the first group whose expression finds something in its name holds. Vectors (norms and biases) are never decayed.
 * @throws EspalierError `bad_config` for an expression that is none or finds no parameter, or a number that makes no sense
 */
export function stepSettings(names: readonly string[], ranks: readonly number[], options: Pick<OptimOptions, 'learningRate' | 'weightDecay' | 'groups'>): StepSettings[] {
  const groups = (options.groups ?? []).map((group, i) => ({ ...group, pattern: checked(group, i, names) }));
  return names.map((name, i) => {
    const group = groups.find(({ pattern }) => pattern.test(name));
    return {
      learningRate: options.learningRate * (group?.learningRateScale ?? 1),
      weightDecay: ranks[i] > 1 ? (group?.weightDecay ?? options.weightDecay ?? 0) : 0,
    };
  });
}

function checked({ match, learningRateScale = 1, weightDecay = 0 }: ParameterGroup, i: number, names: readonly string[]): RegExp {
  const bad = (message: string, fix: string, cause?: unknown) => new EspalierError('bad_config', `parameter group ${i} (${JSON.stringify(match)}): ${message}`, { fix, cause });
  let pattern: RegExp;
  try {
    pattern = new RegExp(match);
  } catch (cause) {
    throw bad('its `match` is no regular expression', 'escape the characters that stand for themselves', cause);
  }
  if (!(learningRateScale >= 0) || !Number.isFinite(learningRateScale)) throw bad(`its learningRateScale is ${learningRateScale}`, 'zero or a positive number would do');
  if (!Number.isFinite(weightDecay)) throw bad(`its weightDecay is ${weightDecay}`, 'a number would do');
  if (!names.some((name) => pattern.test(name))) throw bad('it matches no parameter that is trained', `names look like ${names[0]}`);
  return pattern;
}
