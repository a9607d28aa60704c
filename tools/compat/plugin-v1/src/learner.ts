import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { throwIfAborted, type Learner, type LearnerCapabilities, type Metrics, type MetricSums, type Objective, type OptimOptions, type OutputName, type OutputOptions, type Outputs, type ParameterGroup, type TokenBatch, type WeightsHandle } from '@espalier/spec';

const capabilities: LearnerCapabilities = { outputs: ['logps', 'entropy', 'values', 'scores', 'sumSquares', 'teacherDivergence'], sharedPrefixes: true, precision: 'fp32', backend: 'table' };
const group: ParameterGroup = { match: '^table$', learningRateScale: 1, weightDecay: 0 };

/** A learner whose model is a table: the log-prob of a token is −softplus of its entry. Plain gradient descent. */
export function tableLearner(vocabulary = 64): Learner {
  let table = new Float64Array(vocabulary);
  let reference = table.slice();
  let gradient = new Float64Array(vocabulary);
  let version = 0;
  const logp = (x: number) => -Math.log1p(Math.exp(x));
  const outputsOf = (batch: TokenBatch, needs: readonly OutputName[], from: Float64Array): Outputs =>
    Object.fromEntries(needs.map((name) => [name, Float32Array.from(batch.actionIndex, (t) => (name === 'logps' ? logp(from[batch.tokens[t] % vocabulary]) : 0.5))]));
  return {
    specVersion: 'v1',
    capabilities,
    async forward(batch, needs, options: { signal?: AbortSignal; temperature?: number; reference?: boolean; precision?: 'fp32'; outputOptions?: OutputOptions } = {}) {
      throwIfAborted(options.signal);
      return outputsOf(batch, needs, options.reference ? reference : table);
    },
    async forwardBackward(batch: TokenBatch, objective: Objective, options: { seq?: number; signal?: AbortSignal; temperature?: number; neftuneNoiseAlpha?: number; seed?: number } = {}): Promise<{ loss: number; metrics: MetricSums }> {
      throwIfAborted(options.signal);
      const { loss, grads, metrics } = objective.evaluate(outputsOf(batch, objective.needs, table), batch);
      grads.logps?.forEach((slope, a) => {
        const token = batch.tokens[batch.actionIndex[a]] % vocabulary;
        gradient[token] -= slope / (1 + Math.exp(-table[token])); // d log p / d x = −σ(x)
      });
      return { loss, metrics };
    },
    async optimStep({ learningRate, maxGradNorm = 0, groups = [group] }: OptimOptions, _call?: { seq?: number }): Promise<Metrics> {
      const norm = Math.hypot(...gradient);
      const scale = maxGradNorm > 0 && norm > maxGradNorm ? maxGradNorm / norm : 1;
      const rate = learningRate * (groups.find(({ match }) => new RegExp(match).test('table'))?.learningRateScale ?? 1);
      table = table.map((x, i) => x - rate * scale * gradient[i]);
      gradient = new Float64Array(vocabulary);
      return { grad_norm: norm };
    },
    clearGradients: async () => void (gradient = new Float64Array(vocabulary)),
    mixReference: async (alpha) => void (reference = reference.map((x, i) => alpha * table[i] + (1 - alpha) * x)),
    publish: async (): Promise<WeightsHandle> => ({ version: ++version, digest: String(table.reduce((sum, x) => sum + x, 0)), kind: 'memory', id: 'table' }),
    save: async (dir) => writeFile(join(dir, 'table.json'), JSON.stringify([...table])),
    load: async (dir) => void (table = Float64Array.from(JSON.parse(await readFile(join(dir, 'table.json'), 'utf8')) as number[])),
    close: async () => undefined,
  };
}
