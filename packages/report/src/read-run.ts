import { join } from 'node:path';
import { readInsight } from './insight';
import type { RunData } from './page-data';
import { readJson } from './read-json';
import { readLog } from './read-log';
import { readMetrics } from './read-metrics';
import { readSamples } from './read-samples';

/** The files of a run, whatever of them is there: what is missing is empty, what is damaged is named in `problems`. Never throws for what it finds. */
export async function readRun(dir: string): Promise<RunData> {
  const [config, command, metrics, samples, log, insight] = await Promise.all([
    readJson(join(dir, 'config.json'), 'config.json'),
    readJson(join(dir, 'command.json'), 'command.json'),
    readMetrics(join(dir, 'metrics.jsonl')),
    readSamples(join(dir, 'samples.jsonl')),
    readLog(join(dir, 'log.jsonl')),
    readInsight(dir),
  ]);
  return {
    ...log.log,
    step: metrics.lastStep,
    curves: metrics.curves,
    samples: samples.samples,
    ...(insight.insight ? { insight: insight.insight } : {}),
    config: config.value,
    command: command.value,
    problems: [config, command, metrics, samples, log, insight].flatMap(({ problem }) => (problem === null ? [] : [problem])),
  };
}
