import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Completion, GenerateRequest, Learner, Objective, OutputName, Outputs, RolloutEngine, TokenBatch } from '@espalier/spec';
import { deriveSeed } from '../src/seeds';

/**
 * The smallest real policy: p(next | previous) = softmax of a row of a [V, V] table, trained by AdamW in float64. Learner and rollout engine in
 * one, exact enough for byte comparisons, with hooks where a test wants something to go wrong.
 */
export class BigramPolicy {
  weights: Float64Array;
  private grad: Float64Array;
  private m: Float64Array;
  private v: Float64Array;
  private step = 0;
  private contributions = 0;
  version = 0;
  calls: string[] = [];
  /** Called before every step of the learner; may throw. */
  before: (call: string) => void | Promise<void> = () => undefined;

  constructor(readonly vocabSize: number) {
    const size = vocabSize * vocabSize;
    this.weights = Float64Array.from({ length: size }, (_, i) => deriveSeed(7, i) / 0xffffffff - 0.5);
    [this.grad, this.m, this.v] = [new Float64Array(size), new Float64Array(size), new Float64Array(size)];
  }

  logps(previous: number, temperature = 1): Float64Array {
    const row = this.weights.subarray(previous * this.vocabSize, (previous + 1) * this.vocabSize).map((w) => w / temperature);
    const max = Math.max(...row);
    const norm = max + Math.log(row.reduce((sum, w) => sum + Math.exp(w - max), 0));
    return row.map((w) => w - norm);
  }

  readonly learner: Learner = {
    specVersion: 'v1',
    capabilities: { outputs: ['logps', 'entropy'], sharedPrefixes: true, precision: 'fp32', backend: 'bigram' },
    forward: async (batch, needs, { temperature } = {}) => {
      await this.enter('forward');
      return this.outputs(batch, needs, temperature);
    },
    forwardBackward: async (batch, objective, { temperature = 1 } = {}) => {
      await this.enter('forwardBackward');
      const { loss, grads, metrics } = objective.evaluate(this.outputs(batch, objective.needs, temperature), batch);
      this.contributions++;
      batch.actionIndex.forEach((t, a) => {
        const previous = this.previous(batch, t);
        const p = this.logps(previous, temperature);
        const g = (grads.logps?.[a] ?? 0) / temperature;
        for (let j = 0; j < this.vocabSize; j++) this.grad[previous * this.vocabSize + j] += g * ((j === batch.tokens[t] ? 1 : 0) - Math.exp(p[j]));
      });
      return { loss, metrics };
    },
    optimStep: async ({ learningRate, maxGradNorm = 0, adamBeta1 = 0.9, adamBeta2 = 0.999, adamEpsilon = 1e-8, weightDecay = 0 }) => {
      await this.enter('optimStep');
      if (this.contributions === 0) throw new Error('there is no gradient');
      const norm = Math.sqrt(this.grad.reduce((sum, g) => sum + g * g, 0));
      const scale = maxGradNorm > 0 && norm > maxGradNorm ? maxGradNorm / norm : 1;
      this.step++;
      for (let i = 0; i < this.weights.length; i++) {
        const g = this.grad[i] * scale;
        this.m[i] = adamBeta1 * this.m[i] + (1 - adamBeta1) * g;
        this.v[i] = adamBeta2 * this.v[i] + (1 - adamBeta2) * g * g;
        this.weights[i] -= learningRate * (weightDecay * this.weights[i] + this.m[i] / (1 - adamBeta1 ** this.step) / (Math.sqrt(this.v[i] / (1 - adamBeta2 ** this.step)) + adamEpsilon));
      }
      this.grad.fill(0);
      this.contributions = 0;
      this.version++;
      return { grad_norm: norm };
    },
    publish: async () => ({ kind: 'memory', id: 'bigram', version: this.version, digest: String(this.version) }),
    save: async (dir) => {
      await this.enter('save:begin');
      await writeFile(join(dir, 'weights.bin'), this.weights);
      await this.enter('save:middle');
      await writeFile(join(dir, 'optimizer.bin'), Buffer.concat([Buffer.from(Float64Array.of(this.step).buffer), Buffer.from(this.m.buffer), Buffer.from(this.v.buffer)]));
      await this.enter('save:end');
    },
    load: async (dir) => {
      const read = async (name: string) => {
        const bytes = await readFile(join(dir, name));
        return new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
      };
      this.weights = await read('weights.bin');
      const optimizer = await read('optimizer.bin');
      this.step = optimizer[0];
      this.m = optimizer.slice(1, 1 + this.weights.length);
      this.v = optimizer.slice(1 + this.weights.length);
      this.grad.fill(0);
      this.contributions = 0;
    },
    close: async () => undefined,
  };

  readonly rollouts: RolloutEngine = (() => {
    // eslint-disable-next-line @typescript-eslint/no-this-alias -- the generator below has a `this` of its own
    const policy = this;
    return {
      specVersion: 'v1',
      name: 'bigram',
      capabilities: { tokenIds: true, logps: true, sync: 'memory' },
      // Latest first: nobody may depend on the order in which completions finish.
      async *generate(requests: readonly GenerateRequest[], { signal } = {}): AsyncGenerator<Completion> {
        await policy.enter('generate');
        for (const request of [...requests].reverse()) {
          for (let k = (request.n ?? 1) - 1; k >= 0; k--) {
            if (signal?.aborted) return;
            yield policy.sample(request, k);
          }
        }
      },
      close: async () => undefined,
    };
  })();

  /** Token 0 ends a completion. The text is the tokens with spaces between. */
  private sample(request: GenerateRequest, index: number): Completion {
    const { temperature = 1, maxNewTokens = 16 } = request.sampling ?? {};
    const tokens: number[] = [];
    const logps: number[] = [];
    let previous = request.prompt[request.prompt.length - 1];
    while (tokens.length < maxNewTokens && tokens.at(-1) !== 0) {
      const row = this.logps(previous, temperature || 1);
      let token = row.indexOf(Math.max(...row));
      if (temperature > 0) {
        let u = deriveSeed(request.seed, index, tokens.length) / 0x1_0000_0000;
        for (token = 0; token < this.vocabSize - 1 && (u -= Math.exp(row[token])) >= 0; token++);
      }
      tokens.push(token);
      logps.push(row[token]);
      previous = token;
    }
    const ended = tokens.at(-1) === 0;
    return { requestId: request.id, index, tokens: Int32Array.from(tokens), logps: Float32Array.from(logps), text: tokens.filter((t) => t !== 0).join(' '), finishReason: ended ? 'stop' : 'length', version: this.version };
  }

  private async enter(call: string): Promise<void> {
    this.calls.push(call);
    await this.before(call);
  }

  private previous(batch: TokenBatch, t: number): number {
    let s = 0;
    while (batch.offsets[s + 1] <= t) s++;
    if (t > batch.offsets[s]) return batch.tokens[t - 1];
    return batch.tokens[batch.offsets[batch.prefixOf![s] + 1] - 1];
  }

  private outputs(batch: TokenBatch, needs: readonly OutputName[], temperature = 1): Outputs {
    const rows = Array.from(batch.actionIndex, (t) => ({ token: batch.tokens[t], logps: this.logps(this.previous(batch, t), temperature) }));
    const all: Outputs = {
      logps: Float32Array.from(rows, ({ token, logps }) => logps[token]),
      entropy: Float32Array.from(rows, ({ logps }) => -logps.reduce((sum, p) => sum + Math.exp(p) * p, 0)),
    };
    return Object.fromEntries(needs.map((name) => [name, all[name]!]));
  }
}

/** −Σ weight · logp / tokens of the step: the language-model loss, or with advantages as weights the policy gradient. */
export const weightedNll: Objective = {
  specVersion: 'v1',
  name: 'weighted-nll',
  needs: ['logps'],
  coupling: 'token',
  evaluate({ logps }, { columns, normalizer }) {
    const weights = columns.advantages ?? new Float32Array(logps!.length).fill(1);
    const grads = Float32Array.from(logps!, (_, a) => -weights[a] / normalizer.tokens);
    const loss = logps!.reduce((sum, logp, a) => sum + grads[a] * logp, 0);
    return { loss, grads: { logps: grads }, metrics: { mean_logp: { sum: logps!.reduce((a, b) => a + b, 0), weight: logps!.length } } };
  },
};

/** Sequences of token ids as a language-model batch: every token but the first is predicted. */
export function sequencesBatch(sequences: readonly (readonly number[])[]): TokenBatch {
  const offsets = Int32Array.from([0, ...sequences.map((_, i) => sequences.slice(0, i + 1).reduce((sum, s) => sum + s.length, 0))]);
  const tokens = Int32Array.from(sequences.flat());
  const actionIndex = Int32Array.from([...tokens.keys()].filter((t) => !offsets.includes(t)));
  return { tokens, offsets, actionIndex, columns: {}, normalizer: { tokens: actionIndex.length, sequences: sequences.length } };
}
