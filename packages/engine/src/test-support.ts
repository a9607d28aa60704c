import { fileURLToPath } from 'node:url';
import { defineObjective, type Completion, type Coupling, type GenerateRequest, type Objective, type TokenBatch } from '@espalier/spec';
import type { Engine } from './engine';

/** A small random checkpoint of the models package, made with transformers. */
export const fixture = (name: string) => fileURLToPath(new URL(`../../models/fixtures/${name}`, import.meta.url));

/** Loss = -Σ weight · logp / tokens, over the whole step. */
export function weightedNll(coupling: Coupling = 'token'): Objective {
  return defineObjective({
    name: 'weighted-nll',
    needs: ['logps'],
    coupling,
    evaluate: ({ logps }, { columns: { weights }, normalizer }) => {
      const loss = -logps!.reduce((sum, logp, a) => sum + weights[a] * logp, 0) / normalizer.tokens;
      return { loss, grads: { logps: weights.map((w) => -w / normalizer.tokens) }, metrics: { nll: { sum: loss, weight: 1 } } };
    },
  });
}

/** Prompts and samples of pseudo-random tokens, the samples starting from the prompts. Deterministic. */
export function groupBatch(options: { prompts: number; samples: number; promptLength?: number; sampleLength?: number; vocabSize?: number; share?: boolean; seed?: number }): TokenBatch {
  const { prompts, samples, promptLength = 6, sampleLength = 5, vocabSize = 280, share = true, seed = 1 } = options;
  let state = seed;
  const draw = () => (state = (state * 48271) % 2147483647) % vocabSize;
  const tokens: number[] = [];
  const offsets = [0];
  const prefixOf: number[] = [];
  const actionIndex: number[] = [];
  const weights: number[] = [];
  for (let p = 0; p < prompts; p++) {
    const prompt = Array.from({ length: promptLength + (p % 2) }, draw);
    const prefix = offsets.length - 1;
    if (share) {
      tokens.push(...prompt);
      offsets.push(tokens.length);
      prefixOf.push(-1);
    }
    for (let k = 0; k < samples; k++) {
      if (!share) tokens.push(...prompt);
      for (let t = 0; t < sampleLength + (k % 3); t++) {
        actionIndex.push(tokens.length);
        weights.push(((draw() % 21) - 10) / 10 + 0.05);
        tokens.push(draw());
      }
      offsets.push(tokens.length);
      prefixOf.push(share ? prefix : -1);
    }
  }
  return {
    tokens: Int32Array.from(tokens),
    offsets: Int32Array.from(offsets),
    prefixOf: Int32Array.from(prefixOf),
    actionIndex: Int32Array.from(actionIndex),
    columns: { weights: Float32Array.from(weights) },
    normalizer: { tokens: actionIndex.length, sequences: prompts * samples },
  };
}

/** All completions of the requests, by request id and index. */
export async function generateAll(engine: Engine, requests: readonly GenerateRequest[], signal?: AbortSignal): Promise<Map<string, Completion>> {
  const all = new Map<string, Completion>();
  for await (const completion of engine.generate(requests, { signal })) all.set(`${completion.requestId}/${completion.index}`, completion);
  return all;
}
