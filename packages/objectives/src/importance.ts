import { EspalierError } from '@espalier/spec';
import { rowMean, spreadRows, type Rows } from './rows';
import { sub } from './vector-ops';
import type { Vector, VectorLike } from './vector';

export const importanceSamplingLevels = ['token', 'sequence'] as const;
export type ImportanceSamplingLevel = (typeof importanceSamplingLevels)[number];

/**
 * log π_θ/π_old of each token [A]: its own (`token`), or the mean over its sequence (`sequence`: GSPO, 2507.18071 eq. 7; every token of a
 * sequence then carries the same number).
 * @throws EspalierError `bad_config` for an unknown level
 */
export function logImportanceRatio(logps: VectorLike, oldLogps: VectorLike, rows: Rows, level: ImportanceSamplingLevel): Vector {
  const logRatio = sub(logps, oldLogps); // [A]
  if (level === 'token') return logRatio;
  if (level === 'sequence') return spreadRows(rowMean(logRatio, rows), rows);
  throw new EspalierError('bad_config', `\`importance_sampling_level\` ${JSON.stringify(level)} is unknown`, { fix: `one of ${importanceSamplingLevels.join(', ')}` });
}
