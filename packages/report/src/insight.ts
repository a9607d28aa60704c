import { join } from 'node:path';
import type { InsightData, InsightSample, Json } from './page-data';
import { numberOf, readJson, recordOf, textOf } from './read-json';

/** The file in a run's folder that holds what two checkpoints say of the same texts. */
export const insightFile = 'insight.json';

/** What `espalier insight` left in a run's folder; null where there is none. What is damaged is left out, and said. */
export async function readInsight(dir: string): Promise<{ insight: InsightData | null; problem: string | null }> {
  const { value, problem } = await readJson(join(dir, insightFile), insightFile);
  if (problem !== null || value === null) return { insight: null, problem };
  const file = recordOf(value);
  const samples = Array.isArray(file['samples']) ? file['samples'].map(sampleOf).filter((sample) => sample !== null) : [];
  if (file['version'] !== 1 || samples.length === 0) return { insight: null, problem: `${insightFile} holds no insight` };
  return { insight: { version: 1, before: textOf(file['before']) ?? '?', after: textOf(file['after']) ?? '?', samples }, problem: null };
}

function sampleOf(value: unknown): InsightSample | null {
  const record = recordOf(value);
  const tokens = record['tokens'];
  if (!Array.isArray(tokens) || !tokens.every((token) => typeof token === 'string')) return null;
  const numbers = (name: string): number[] | null => {
    const list = record[name];
    return Array.isArray(list) && list.length === tokens.length && list.every((v) => typeof v === 'number' && Number.isFinite(v)) ? (list as number[]) : null;
  };
  const [before, after, entropyBefore, entropyAfter] = [numbers('before'), numbers('after'), numbers('entropyBefore'), numbers('entropyAfter')];
  if (!before || !after || !entropyBefore || !entropyAfter) return null;
  const components = Object.fromEntries(Object.entries(recordOf(record['components'])).filter((entry): entry is [string, number] => typeof entry[1] === 'number'));
  return { prompt: (record['prompt'] ?? null) as Json, completion: textOf(record['completion']) ?? tokens.join(''), tokens, before, after, entropyBefore, entropyAfter, reward: numberOf(record['reward']), components, advantage: numberOf(record['advantage']) };
}
