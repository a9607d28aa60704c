import { EspalierError } from '@espalier/spec';
import { informationGainObjective } from './information-gain/objective';
import { nextSegmentObjective } from './next-segment/objective';
import { nextTokenObjective } from './next-token/objective';
import type { RPTObjective } from './objective';
import { precisionLearning } from './precision/objective';
import { selfPlayObjective } from './self-play/objective';
import { verifiableObjective } from './verifiable/objective';

/** The objectives of this package. A further one: its folder, its line here, its fields in `config.ts`. */
export const rptObjectives: readonly RPTObjective[] = [verifiableObjective, nextTokenObjective, informationGainObjective, nextSegmentObjective, precisionLearning, selfPlayObjective()];

/** @throws EspalierError `bad_config` naming those that there are */
export function objectiveNamed(name: string): RPTObjective {
  const found = rptObjectives.find((objective) => objective.name === name);
  if (!found) throw new EspalierError('bad_config', `there is no objective ${JSON.stringify(name)}`, { fix: `one of ${rptObjectives.map((objective) => objective.name).join(', ')}` });
  return found;
}
