import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Random } from '@espalier/data';
import type { Completion, GenerateRequest, Learner, OutputName, Outputs, RolloutEngine, TokenBatch } from '@espalier/spec';
import { deriveSeed, type EncodedPrompt } from '@espalier/trainer';
import { alphabet, maxLength, written, type Question } from './tasks.mts';

/** Token 0 ends a completion; 1 begins it; the others are characters. */
const characters = [...alphabet];
const vocab = characters.length + 2;
const positions = maxLength + 1;
const cells = positions * vocab * vocab; // of (position, token before, token)

/**
 * The smallest policy that can learn these tasks and exploit their rewards: log p(token | question, position, token before) is a cell of a table of the question's own,
 * plus a cell of a table that all share. It begins as its authors write, and is trained by AdamW in float64. Learner and rollout engine in one: the trainer, the
 * algorithm and the alarms around it are the real ones.
 */
export class TablePolicy {
  private readonly weights: Float64Array;
  private readonly grad: Float64Array;
  private readonly m: Float64Array;
  private readonly v: Float64Array;
  private readonly touched = new Set<number>();
  private step = 0;
  private version = 0;
  readonly prompts: readonly EncodedPrompt[];

  constructor(questions: readonly Question[], seed: number) {
    const size = (questions.length + 1) * cells;
    [this.weights, this.grad, this.m, this.v] = [new Float64Array(size), new Float64Array(size), new Float64Array(size), new Float64Array(size)];
    this.prompts = questions.map((row, i) => ({ row: { ...row }, prompt: row.prompt, tokens: Int32Array.of(vocab + i) }));
    const random = new Random(seed, 0xab);
    questions.forEach((question, q) => {
      const counts = new Float64Array(cells).fill(0.02);
      for (let n = 0; n < 600; n++) {
        let before = 1;
        const tokens = [...written(question, random)].map((c) => characters.indexOf(c) + 2);
        [...tokens, 0].slice(0, positions).forEach((token, t) => {
          counts[(t * vocab + before) * vocab + token]++;
          before = token;
        });
      }
      const table = this.weights.subarray((q + 1) * cells, (q + 2) * cells);
      counts.forEach((count, i) => (table[i] = Math.log(count)));
    });
  }

  private logps(question: number, position: number, before: number, temperature = 1): Float64Array {
    const row = (position * vocab + before) * vocab;
    const [shared, own] = [row, (question + 1) * cells + row];
    const logits = Float64Array.from({ length: vocab }, (_, j) => (this.weights[shared + j] + this.weights[own + j]) / temperature);
    const most = Math.max(...logits);
    const norm = most + Math.log(logits.reduce((sum, x) => sum + Math.exp(x - most), 0));
    return logits.map((x) => x - norm);
  }

  readonly learner: Learner = {
    specVersion: 'v1',
    capabilities: { outputs: ['logps', 'entropy'], sharedPrefixes: true, precision: 'fp32', backend: 'table' },
    forward: async (batch, needs, { temperature } = {}) => this.outputs(batch, needs, temperature),
    forwardBackward: async (batch, objective, { temperature = 1 } = {}) => {
      const { loss, grads, metrics } = objective.evaluate(this.outputs(batch, objective.needs, temperature), batch);
      this.places(batch).forEach(({ question, position, before, token }, a) => {
        const g = (grads.logps?.[a] ?? 0) / temperature;
        if (g === 0) return;
        const p = this.logps(question, position, before, temperature);
        const row = (position * vocab + before) * vocab;
        for (const base of [row, (question + 1) * cells + row]) {
          this.touched.add(base);
          for (let j = 0; j < vocab; j++) this.grad[base + j] += g * (Number(j === token) - Math.exp(p[j]));
        }
      });
      return { loss, metrics };
    },
    // AdamW where there is a gradient, with each cell's moments as they were when it last had one
    optimStep: async ({ learningRate, adamBeta1 = 0.9, adamBeta2 = 0.999, adamEpsilon = 1e-8 }) => {
      this.step++;
      let norm = 0;
      for (const base of this.touched) {
        for (let i = base; i < base + vocab; i++) {
          const g = this.grad[i];
          norm += g * g;
          this.m[i] = adamBeta1 * this.m[i] + (1 - adamBeta1) * g;
          this.v[i] = adamBeta2 * this.v[i] + (1 - adamBeta2) * g * g;
          this.weights[i] -= (learningRate * (this.m[i] / (1 - adamBeta1 ** this.step))) / (Math.sqrt(this.v[i] / (1 - adamBeta2 ** this.step)) + adamEpsilon);
          this.grad[i] = 0;
        }
      }
      this.touched.clear();
      this.version++;
      return { grad_norm: Math.sqrt(norm) };
    },
    publish: async () => ({ kind: 'memory', id: 'table', version: this.version, digest: String(this.version) }),
    save: async (dir) => writeFile(join(dir, 'table.bin'), Buffer.concat([this.weights, this.m, this.v, Float64Array.of(this.step)].map(({ buffer }) => Buffer.from(buffer)))),
    load: async (dir) => {
      const bytes = await readFile(join(dir, 'table.bin'));
      const all = new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
      [this.weights, this.m, this.v].forEach((array, i) => array.set(all.subarray(i * array.length, (i + 1) * array.length)));
      this.step = all.at(-1)!;
      this.grad.fill(0);
      this.touched.clear();
    },
    close: async () => undefined,
  };

  readonly rollouts: RolloutEngine = {
    specVersion: 'v1',
    name: 'table',
    capabilities: { tokenIds: true, logps: true, sync: 'memory' },
    generate: (requests, { signal } = {}) => this.generate(requests, signal),
    close: async () => undefined,
  };

  private async *generate(requests: readonly GenerateRequest[], signal?: AbortSignal): AsyncGenerator<Completion> {
    for (const request of requests) {
      for (let k = 0; k < (request.n ?? 1); k++) {
        if (signal?.aborted) return;
        yield this.sample(request, k);
      }
    }
  }

  private sample({ id, prompt, seed, sampling }: GenerateRequest, index: number): Completion {
    const { temperature = 1, maxNewTokens = positions } = sampling ?? {};
    const tokens: number[] = [];
    const logps: number[] = [];
    let before = 1;
    while (tokens.length < Math.min(maxNewTokens, positions) && tokens.at(-1) !== 0) {
      const row = this.logps(prompt[0] - vocab, tokens.length, before, temperature);
      let u = deriveSeed(seed, index, tokens.length) / 0x1_0000_0000;
      let token = 0;
      while (token < vocab - 1 && (u -= Math.exp(row[token])) >= 0) token++;
      tokens.push(token);
      logps.push(row[token]);
      before = token;
    }
    const text = tokens.filter((token) => token > 1).map((token) => characters[token - 2]).join('');
    return { requestId: id, index, tokens: Int32Array.from(tokens), logps: Float32Array.from(logps), text, finishReason: tokens.at(-1) === 0 ? 'stop' : 'length', version: this.version };
  }

  /** What each action of a batch is conditioned on. */
  private places({ tokens, offsets, prefixOf, actionIndex }: TokenBatch) {
    let sequence = 0;
    return Array.from(actionIndex, (at) => {
      while (offsets[sequence + 1] <= at) sequence++;
      const begin = offsets[sequence];
      const shares = prefixOf !== undefined && prefixOf[sequence] >= 0 && prefixOf[sequence] !== sequence;
      const question = (shares ? tokens[offsets[prefixOf[sequence]]] : tokens[begin]) - vocab;
      const position = at - begin - (shares ? 0 : 1);
      return { question, position, before: position === 0 ? 1 : tokens[at - 1], token: tokens[at] };
    });
  }

  private outputs(batch: TokenBatch, needs: readonly OutputName[], temperature = 1): Outputs {
    const rows = this.places(batch).map(({ question, position, before, token }) => ({ token, logps: this.logps(question, position, before, temperature) }));
    const all: Outputs = {
      logps: Float32Array.from(rows, ({ token, logps }) => logps[token]),
      entropy: Float32Array.from(rows, ({ logps }) => -logps.reduce((sum, p) => sum + Math.exp(p) * p, 0)),
    };
    return Object.fromEntries(needs.map((name) => [name, all[name]!]));
  }
}
