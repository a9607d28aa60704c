import { assertSpecVersion, EspalierError, type Tracker } from '@espalier/spec';
import { tensorboardTracker } from './tensorboard';

/** Trackers that come with this package, by their names in `reportTo`. */
export const builtinTrackers: Readonly<Record<string, (options: { loggingDir?: string }) => Tracker>> = {
  tensorboard: ({ loggingDir }) => tensorboardTracker({ dir: loggingDir }),
};

/**
 * The trackers that a run reports to: those that were handed over, and those that `reportTo` names (`none`: no more than these; `all`: every one
 * that comes with Espalier). `metrics.jsonl` is always written.
 * @throws EspalierError `bad_config` for a name that nobody has, `incompatible_plugin`
 */
export function chooseTrackers(reportTo: string | readonly string[], given: readonly Tracker[] = [], options: { loggingDir?: string } = {}): Tracker[] {
  const trackers = [...given];
  for (const tracker of given) {
    assertSpecVersion(tracker, 'tracker');
    if (given.filter(({ name }) => name === tracker.name).length > 1) throw new EspalierError('bad_config', `two trackers are named "${tracker.name}"`, { fix: 'name them apart' });
  }
  const asked = (typeof reportTo === 'string' ? [reportTo] : reportTo).flatMap((name) => (name === 'all' ? Object.keys(builtinTrackers) : name === 'none' ? [] : [name]));
  for (const name of new Set(asked)) {
    if (trackers.some((tracker) => tracker.name === name)) continue;
    const create = builtinTrackers[name];
    if (!create) throw new EspalierError('bad_config', `\`report_to\` ${JSON.stringify(name)}: there is no such tracker`, { fix: `${[...Object.keys(builtinTrackers), 'none', 'all'].join(', ')}, or a tracker of that name in \`trackers\`` });
    trackers.push(create(options));
  }
  return trackers;
}
