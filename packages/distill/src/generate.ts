import { Random } from '@espalier/data';
import { promptText } from '@espalier/engine/local';
import { EspalierError, type Completion, type SamplingOptions } from '@espalier/spec';
import { deriveSeed, type GenerateBatch, type Policy } from '@espalier/trainer';
import type { DistillConfig } from './config';
import { packSequences, type DistillRow } from './rows';

/** What narrows the distribution that completions are drawn from. */
export type SamplingFilters = Pick<SamplingOptions, 'topP' | 'topK' | 'minP' | 'repetitionPenalty'>;

/** Who says what a row is trained on with. */
type Source = 'student' | 'teacher' | 'row';

/** Keeps the seeds of evaluations apart from those of rounds. */
const evaluationRound = 0xe7a1;

/**
 * Whose completion each row gets (2306.13649, algorithm 1): with probability `lmbda` the student's; else the teacher's with `seqKd`, or its own. Drawn for each
 * row, where TRL draws for a whole micro-batch: so a step is the same however it is divided. In an evaluation rows keep their own, as in TRL, and the student
 * speaks where they have none.
 */
export function generateCompletions(policy: Policy, config: Pick<DistillConfig, 'lmbda' | 'seqKd' | 'temperature' | 'maxNewTokens' | 'seed'> & { filters?: SamplingFilters }): GenerateBatch<DistillRow> {
  const { engine } = policy;
  const { lmbda, seqKd, temperature, maxNewTokens, filters, seed } = config;

  function sourceOf(row: DistillRow, round: number | null, position: number): Source {
    if (round === null) return row.example ? 'row' : 'student';
    const draw = new Random(deriveSeed(seed, round, position, 0x1a3b)).uint32() / 2 ** 32;
    return draw < lmbda ? 'student' : seqKd ? 'teacher' : 'row';
  }

  return async (rows, { round, position, signal }) => {
    const sources = rows.map((row, i) => sourceOf(row, round, position + i));
    if (sources.every((source) => source === 'row')) return null;
    const completions = new Array<Completion | undefined>(rows.length);
    for (const source of ['student', 'teacher'] as const) {
      const requests = rows.flatMap(({ promptTokens }, i) => (sources[i] === source ? [{ id: String(i), prompt: promptTokens, seed: deriveSeed(seed, round ?? evaluationRound, position + i), sampling: { ...filters, maxNewTokens, temperature } }] : []));
      if (requests.length === 0) continue;
      for await (const completion of engine.generate(requests, { signal, teacher: source === 'teacher' })) completions[Number(completion.requestId)] = completion;
    }
    if (signal?.aborted) throw new EspalierError('aborted', 'generation was aborted', { cause: signal.reason });

    const sequences = rows.map(({ promptTokens, example }, i) => {
      if (sources[i] === 'row') return example!;
      const completion = completions[i];
      if (!completion || completion.finishReason === 'aborted') throw new EspalierError('internal', `the engine gave no completion for prompt ${position + i} of the round`);
      return { tokens: Int32Array.from([...promptTokens, ...completion.tokens]), start: promptTokens.length };
    });
    const made = completions.filter((completion) => completion !== undefined);
    const share = (count: number) => count / rows.length;
    return {
      batch: packSequences(sequences),
      metrics: {
        on_policy: share(sources.filter((source) => source === 'student').length),
        'completions/mean_length': made.reduce((sum, { tokens }) => sum + tokens.length, 0) / made.length,
        'completions/clipped_ratio': made.filter(({ finishReason }) => finishReason === 'length').length / made.length,
      },
      samples: rows.flatMap((row, i) => (completions[i] ? [{ prompt: promptText(row.prompt), completion: completions[i].text, source: sources[i], tokens: completions[i].tokens.length, finish_reason: completions[i].finishReason }] : [])),
    };
  };
}
