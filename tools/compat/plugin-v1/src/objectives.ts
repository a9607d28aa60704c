import { defineObjective, EspalierError, type Coupling, type Evaluation, type MetricSums, type Objective, type OutputName, type OutputOptions, type Outputs, type TokenBatch } from '@espalier/spec';

const needs: readonly OutputName[] = ['logps', 'entropy', 'teacherDivergence'];
const coupling: Coupling = 'token';
const outputOptions: OutputOptions = { teacherDivergence: { beta: 0.5, temperature: 1 } };

function finite(outputs: Outputs, name: OutputName, batch: TokenBatch): Float32Array {
  const values = outputs[name];
  if (!values || values.length !== batch.actionIndex.length || !values.every(Number.isFinite)) throw new EspalierError('internal', `v1: ${name} is missing or not finite`);
  return values;
}

/** Σ w · ((log p − r)² / 2 − c · entropy + d · divergence) / tokens: three outputs, two columns, a coefficient, inert actions. */
export function pullObjective(options: { entropyCoef?: number } = {}): Objective {
  const c = options.entropyCoef ?? 0.1;
  return defineObjective({
    name: 'pull',
    needs,
    outputOptions,
    coupling,
    evaluate(outputs: Outputs, batch: TokenBatch): Evaluation {
      const [logps, entropy, divergence] = needs.map((name) => finite(outputs, name, batch));
      const { weights, refLogps } = batch.columns;
      const tokens = Math.max(batch.normalizer.tokens, 1);
      const grads = { logps: new Float32Array(logps.length), entropy: new Float32Array(logps.length), teacherDivergence: new Float32Array(logps.length) } satisfies Outputs;
      let loss = 0;
      logps.forEach((logp, a) => {
        const distance = logp - refLogps[a];
        loss += (weights[a] * (distance ** 2 / 2 - c * entropy[a] + 0.01 * divergence[a])) / tokens;
        grads.logps[a] = (weights[a] * distance) / tokens;
        grads.entropy[a] = (-c * weights[a]) / tokens;
        grads.teacherDivergence[a] = (0.01 * weights[a]) / tokens;
      });
      const metrics: MetricSums = { distance: { sum: logps.reduce((sum, logp, a) => sum + Math.abs(logp - refLogps[a]), 0), weight: logps.length } };
      return { loss, grads, metrics };
    },
    inert: (batch) => Uint8Array.from(batch.columns.weights, (weight) => Number(weight === 0)),
  });
}

/** −log σ(β (Σ chosen − Σ rejected)) in the mean over pairs: ragged sequences, shared prefixes, pairs. */
export function pairObjective({ beta = 0.1 }: { beta?: number } = {}): Objective {
  return defineObjective({
    name: 'pair',
    needs: ['logps'],
    coupling: 'pair',
    evaluate(outputs, batch) {
      const logps = finite(outputs, 'logps', batch);
      const { offsets, actionIndex, pairs = new Int32Array(0), normalizer } = batch;
      const sequenceOf = Array.from(actionIndex, (t) => offsets.findIndex((offset, s) => offset <= t && t < offsets[s + 1]));
      const sum = (sequence: number) => logps.reduce((total, logp, a) => (sequenceOf[a] === sequence ? total + logp : total), 0);
      const count = Math.max(normalizer.sequences / 2, 1);
      const grads = new Float32Array(logps.length);
      let loss = 0;
      let won = 0;
      for (let p = 0; p < pairs.length; p += 2) {
        const margin = beta * (sum(pairs[p]) - sum(pairs[p + 1]));
        loss += Math.log1p(Math.exp(-margin)) / count;
        won += Number(margin > 0);
        const slope = -beta / (1 + Math.exp(margin)) / count;
        sequenceOf.forEach((s, a) => {
          if (s === pairs[p]) grads[a] += slope;
          if (s === pairs[p + 1]) grads[a] -= slope;
        });
      }
      return { loss, grads: { logps: grads }, metrics: { 'rewards/accuracies': { sum: won, weight: pairs.length / 2 } } };
    },
  });
}
