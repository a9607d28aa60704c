import { EspalierError } from '@espalier/spec';
import { hash32 } from '../random';
import type { TaskFamily, TaskRow } from './family';
import { parseFamilies } from './mixture-task';

export interface CurriculumOptions {
  /** Names of families, `name*weight` for a prior preference, or families. Default: all of this package. */
  families?: readonly (string | TaskFamily)[];
  /** Default: 1 to 5. */
  difficulties?: readonly number[];
  seed?: number;
  /** Passed on to the families. Default `train`. */
  split?: 'all' | 'train' | 'held_out';
  /** Further options of every family: `format`, `heldOutFraction`, `withCompletion`. */
  options?: Readonly<Record<string, unknown>>;
  /** Arms whose pass rate lies from `low` to `high` are drawn in full. Defaults 0.2 and 0.8. */
  low?: number;
  high?: number;
  /** What a pass rate keeps of itself at each observation. Default 0.98: the last fifty or so count. */
  decay?: number;
  /** Share of its full weight with which an arm is still drawn that always or never passes, so that it is noticed when that changes. Default 0.05. */
  floor?: number;
}

/** A family at a difficulty, with what is known of it. */
export interface CurriculumArm {
  family: string;
  difficulty: number;
  /** Moving average of the rewards, drawn towards 0.5 while there are few; 0.5 before the first. */
  passRate: number;
  observed: number;
  drawn: number;
  /** Share of the draws that it gets now. */
  share: number;
}

/** All that a curriculum knows, as JSON: saved with a checkpoint. Arms stand by `family/difficulty`. */
export interface CurriculumState {
  draws: number;
  arms: Record<string, { sum: number; mass: number; observed: number; drawn: number }>;
}

export interface Curriculum {
  /** The next rows. Which ones follows from the seed and the state alone. */
  next(count: number): TaskRow[];
  /**
   * Tells it what a completion of a row earned: 1 for a right answer, 0 for a wrong one; what lies outside is cut off, null is passed over.
   * @throws EspalierError `bad_data` for a row that is none of its
   */
  observe(row: Readonly<Record<string, unknown>>, reward: number | null): void;
  arms(): readonly CurriculumArm[];
  state(): CurriculumState;
  /** @throws EspalierError `bad_data` for what is no state of these arms */
  restore(state: unknown): void;
}

/** Full between `low` and `high`, falling in straight lines to `floor` at 0 and at 1. */
export function passRateWeight(rate: number, { low = 0.2, high = 0.8, floor = 0.05 }: Pick<CurriculumOptions, 'low' | 'high' | 'floor'> = {}): number {
  const edge = rate < low ? rate / low : rate > high ? (1 - rate) / (1 - high) : 1;
  return floor + (1 - floor) * edge;
}

/**
 * Draws problems where the policy passes sometimes: there a group of completions differs, and there is something to learn. Each family at each difficulty has a pass
 * rate, measured as training goes; those from `low` to `high` are drawn in full, those that always or never pass hardly.
 *
 * @throws EspalierError `not_found` for an unknown family, `bad_config` for options that make no sense
 * @example
 * const rows = curriculum({ families: ['arithmetic', 'count_letters'], seed: 1 });
 * for (const row of rows.next(8)) rows.observe(row, await rewardOf(row));
 */
export function curriculum(options: CurriculumOptions = {}): Curriculum {
  const { seed = 0, split = 'train', difficulties = [1, 2, 3, 4, 5], decay = 0.98, low = 0.2, high = 0.8, floor = 0.05 } = options;
  const wrong = (message: string, fix: string) => new EspalierError('bad_config', `curriculum: ${message}`, { fix });
  if (!(low > 0 && low < high && high < 1)) throw wrong(`\`low\` is ${low} and \`high\` ${high}`, '0 < low < high < 1');
  if (!(decay >= 0 && decay < 1)) throw wrong(`\`decay\` is ${decay}`, 'from 0, below 1');
  if (!(floor > 0 && floor <= 1)) throw wrong(`\`floor\` is ${floor}`, 'above 0, at most 1');
  const given = options.families?.filter((family): family is TaskFamily => typeof family !== 'string') ?? [];
  const families = parseFamilies(options.families?.map((family) => (typeof family === 'string' ? family : family.name)), given);
  const arms = families.flatMap(({ family, weight }) =>
    difficulties.map((difficulty) => ({ key: `${family.name}/${difficulty}`, family, difficulty, prior: weight, sum: 0, mass: 0, observed: 0, drawn: 0 })),
  );
  if (arms.length === 0) throw wrong('there is nothing to draw from', 'at least one family and one difficulty');
  if (new Set(arms.map(({ key }) => key)).size < arms.length) throw wrong('a family or a difficulty is given twice', 'once each, with a weight');
  const byKey = new Map(arms.map((arm) => [arm.key, arm]));
  const rowOf = (arm: (typeof arms)[number], number: number) => arm.family.generate(number, { ...options.options, seed, split, difficulty: arm.difficulty });
  for (const arm of arms) rowOf(arm, 0); // wrong options show at once
  const rate = ({ sum, mass }: { sum: number; mass: number }) => (sum + 0.5) / (mass + 1);
  const weights = () => arms.map((arm) => arm.prior * passRateWeight(rate(arm), { low, high, floor }));
  let draws = 0;

  return {
    next(count) {
      const parts = weights();
      const total = parts.reduce((a, b) => a + b, 0);
      return Array.from({ length: count }, () => {
        let left = (hash32(seed, 0xc7, draws++) / 4294967296) * total;
        const at = parts.findIndex((part) => (left -= part) < 0);
        const arm = arms[at < 0 ? arms.length - 1 : at];
        return rowOf(arm, arm.drawn++);
      });
    },
    observe(row, reward) {
      const arm = byKey.get(`${String(row['family'])}/${String(row['difficulty'])}`);
      if (!arm) throw new EspalierError('bad_data', `curriculum: a row of family ${JSON.stringify(row['family'])} and difficulty ${JSON.stringify(row['difficulty'])} is none of its`, { fix: 'rows that `next` gave' });
      if (reward === null) return;
      if (Number.isNaN(reward)) throw new EspalierError('bad_data', `curriculum: the reward of a row of ${arm.key} is NaN`);
      arm.sum = decay * arm.sum + Math.min(1, Math.max(0, reward));
      arm.mass = decay * arm.mass + 1;
      arm.observed++;
    },
    arms() {
      const parts = weights();
      const total = parts.reduce((a, b) => a + b, 0);
      return arms.map((arm, i) => ({ family: arm.family.name, difficulty: arm.difficulty, passRate: rate(arm), observed: arm.observed, drawn: arm.drawn, share: parts[i] / total }));
    },
    state: () => ({ draws, arms: Object.fromEntries(arms.map(({ key, sum, mass, observed, drawn }) => [key, { sum, mass, observed, drawn }])) }),
    restore(state) {
      const saved = state as CurriculumState | null;
      const isCount = (n: unknown) => Number.isInteger(n) && (n as number) >= 0;
      const isArm = (arm: CurriculumState['arms'][string] | undefined) => arm !== undefined && isCount(arm.observed) && isCount(arm.drawn) && Number.isFinite(arm.sum) && Number.isFinite(arm.mass) && arm.sum >= 0 && arm.mass >= 0;
      if (typeof saved !== 'object' || saved === null || !isCount(saved.draws) || typeof saved.arms !== 'object' || Object.keys(saved.arms).length !== arms.length || !arms.every(({ key }) => isArm(saved.arms[key]))) {
        throw new EspalierError('bad_data', `${JSON.stringify(state)?.slice(0, 200)} is no state of a curriculum over ${arms.map(({ key }) => key).join(', ').slice(0, 200)}`, { fix: 'the families and difficulties that it was saved with' });
      }
      draws = saved.draws;
      for (const arm of arms) Object.assign(arm, { sum: saved.arms[arm.key].sum, mass: saved.arms[arm.key].mass, observed: saved.arms[arm.key].observed, drawn: saved.arms[arm.key].drawn });
    },
  };
}
