import { defineObjective, type Evaluation, type Objective, type Outputs, type TokenBatch } from '@espalier/spec';
import { describe, it } from 'vitest';
import { expectConformance, expectViolation } from '../test-support';
import { objectiveChecks as checks } from './checks';
import { objectiveSubject } from './subject';

/** Σ −w · logp / tokens, with its derivative: what an objective may look like. */
function evaluate({ logps }: Outputs, { columns: { weights }, normalizer }: TokenBatch): Evaluation {
  let nll = 0;
  logps!.forEach((logp, a) => {
    if (!Number.isFinite(logp)) throw new Error(`logps[${a}] is ${logp}`);
    nll -= weights[a] * logp;
  });
  return { loss: nll / normalizer.tokens, grads: { logps: weights.map((w) => -w / normalizer.tokens) }, metrics: { nll: { sum: nll, weight: logps!.length } } };
}
const good: Objective = defineObjective({ name: 'weighted', needs: ['logps'], coupling: 'token', evaluate });
const changed = (more: Partial<Objective>) => objectiveSubject({ ...good, ...more });
/** The same with something else made of its evaluation. */
const after = (change: (evaluation: Evaluation, batch: TokenBatch, outputs: Outputs) => Partial<Evaluation>) => changed({ evaluate: (outputs, batch) => ({ ...evaluate(outputs, batch), ...change(evaluate(outputs, batch), batch, outputs) }) });

/** Mean over the sequences of their means: a sequence may not be torn. */
const bySequence = (normal: (batch: TokenBatch) => number, coupling: Objective['coupling']) =>
  changed({
    coupling,
    evaluate({ logps }, batch) {
      const grads = new Float32Array(logps!.length);
      let loss = 0;
      for (let s = 0; s + 1 < batch.offsets.length; s++) {
        const own = Array.from(batch.actionIndex.keys()).filter((a) => batch.actionIndex[a] >= batch.offsets[s] && batch.actionIndex[a] < batch.offsets[s + 1]);
        for (const a of own) {
          loss -= logps![a] / own.length / normal(batch);
          grads[a] = -1 / own.length / normal(batch);
        }
      }
      return { loss, grads: { logps: grads }, metrics: {} };
    },
  });

describe('an objective that keeps its contract', () => {
  it('passes', () => expectConformance(checks, changed({ inert: ({ columns }) => Uint8Array.from(columns.weights, (w) => Number(w === 0)) })));
  it('passes with a kink at the very point', () =>
    expectConformance(checks, objectiveSubject({ ...good, evaluate: ({ logps }, { normalizer }) => {
      logps!.forEach((v) => { if (!Number.isFinite(v)) throw new Error('not finite'); });
      return { loss: logps!.reduce((sum, v) => sum + Math.max(v, -1), 0) / normalizer.tokens + (logps!.length * 1) / normalizer.tokens, grads: { logps: logps!.map((v) => (v > -1 ? 1 : v === -1 ? 0.5 : 0) / normalizer.tokens) }, metrics: {} };
    } }, { outputs: undefined })));
  it('passes with a constant that is taken of the outputs, where the surrogate says so', () => {
    const dft = (outputs: Outputs, anchor: Outputs, { normalizer }: TokenBatch) => -outputs.logps!.reduce((sum, logp, a) => sum + Math.exp(anchor.logps![a]) * logp, 0) / normalizer.tokens;
    const objective: Objective = { ...good, evaluate: (outputs, batch) => {
      outputs.logps!.forEach((v) => { if (!Number.isFinite(v)) throw new Error('not finite'); });
      return { loss: dft(outputs, outputs, batch), grads: { logps: outputs.logps!.map((logp) => -Math.exp(logp) / batch.normalizer.tokens) }, metrics: {} };
    } };
    return expectConformance(checks, objectiveSubject(objective, { surrogate: dft })).then(() => expectViolation(checks['gives derivatives that finite differences confirm'], objectiveSubject(objective), /d loss \/ d logps\[0\] to be/));
  });
});

describe('an objective that does not', () => {
  it.each<[keyof typeof checks, ReturnType<typeof objectiveSubject>, RegExp]>([
    ['speaks v1 and says what it needs', changed({ needs: ['logits' as 'logps'] }), /`needs` to list at least one of logps, entropy, .*; found \["logits"\]\. The learner computes what stands there/],
    ['speaks v1 and says what it needs', changed({ coupling: 'group' as 'batch' }), /`coupling` to be one of token, sequence, pair, batch; found "group"/],
    ['gives a finite loss, its derivatives and metrics', after(() => ({ loss: NaN })), /a finite loss; found NaN/],
    ['gives a finite loss, its derivatives and metrics', after(() => ({ grads: { entropy: new Float32Array(24) } })), /derivatives of what it needs \(logps\); found one of "entropy"/],
    ['gives a finite loss, its derivatives and metrics', after(() => ({ grads: { logps: new Float32Array(3) } })), /`grads\.logps` to be a Float32Array of \d+ numbers, one an action; found Float32Array \[0, 0, 0\]/],
    ['gives a finite loss, its derivatives and metrics', after(({ grads }) => ({ grads: { logps: grads.logps!.map((g, a) => (a === 4 ? NaN : g)) } })), /`grads\.logps` to be finite; found NaN at action 4\. One NaN makes every weight NaN/],
    ['gives a finite loss, its derivatives and metrics', after(() => ({ metrics: { nll: { sum: 1, weight: NaN } } })), /metric "nll" to be a finite \{ sum, weight \}/],
    ['gives a finite loss, its derivatives and metrics', changed({ evaluate: (async () => ({})) as never }), /an evaluation at once/],
    ['gives derivatives that finite differences confirm', after(({ grads }) => ({ grads: { logps: grads.logps!.map((g, a) => (a === 2 ? -g : g)) } })), /d loss \/ d logps\[2\] to be -\S+, as finite differences say; found 0\.\S+\. A wrong derivative trains towards something else/],
    ['gives derivatives that finite differences confirm', after(() => ({ grads: {} })), /d loss \/ d logps\[0\] to be -\S+, as finite differences say; found 0/],
    ['gives derivatives that finite differences confirm', after(({ grads }) => ({ grads: { logps: grads.logps!.map((g) => 1.001 * g) } })), /d loss \/ d logps\[0\]/],
    ['adds up from the parts that its coupling allows', bySequence(({ normalizer }) => normalizer.sequences, 'token'), /the losses of \d+ parts to add up to that of the whole .* Its coupling is "token"/],
    ['adds up from the parts that its coupling allows', bySequence(({ prefixOf }) => prefixOf!.filter((s) => s >= 0).length, 'sequence'), /the losses of 8 parts .*means are taken over `normalizer`, not over the part/],
    ['adds up from the parts that its coupling allows', after(({ metrics }, { actionIndex }) => ({ metrics: { nll: { sum: metrics.nll.sum / actionIndex.length, weight: 1 } } })), /metric "nll" added up from \d+ parts to be that of the whole .* depend on how a batch is cut/],
    ['does not depend on the order of the sequences', after(({ loss }, _, { logps }) => ({ loss: loss + logps![0] })), /the loss of the sequences in another order to be the same/],
    ['gives the same to the bit again', after(({ loss }) => ({ loss: loss + counter++ })), /a second evaluation to give what the first gave/],
    ['does not change the outputs or the batch', after((_, __, { logps }) => (logps!.fill(0), {})), /outputs and batch as it was given \(-\S+ at outputs\.logps\[0\]\); found 0/],
    ['gives nothing for nothing', after(({ loss }) => ({ loss: loss + 0.1 })), /a part without sequences to have the loss 0; found 0\.1/],
    ['gives nothing for nothing', after(({ loss }, { actionIndex }) => ({ loss: loss / actionIndex.length })), /a finite loss; found NaN/],
    ['refuses numbers that are not finite', changed({ evaluate: ({ logps }, batch) => evaluate({ logps: logps!.map((v) => (Number.isFinite(v) ? v : 0)) }, batch) }), /logps\[0\] = NaN to be refused with an error, or to show in the loss, which the learner refuses then; found the loss \S+\. Bad input must never/],
    ['looks at actions alone, and at the outputs that it needs', after(({ loss }, { tokens }) => ({ loss: loss + tokens[0] })), /other prompt tokens to be the same .* Tokens outside `actionIndex` are not trained on/],
    ['looks at actions alone, and at the outputs that it needs', after(({ loss }, _, { entropy }) => ({ loss: loss - (entropy?.[0] ?? 0) })), /beside an output that it does not need \(entropy\) to be the same/],
    ['leaves out actions of weight 0', after(({ loss, grads }, { columns }) => ({ loss, grads: { logps: grads.logps!.map((g, a) => (columns.weights[a] === 0 ? 0.1 : g)) } })), /no derivative of logps\[1\], whose weights is 0; found 0\.1\d*\. What is masked would be trained on/],
    ['leaves out actions of weight 0', after(({ loss }, { columns }, { logps }) => ({ loss: loss + logps!.reduce((sum, v, a) => sum + (columns.weights[a] === 0 ? v : 0), 0) })), /loss at other outputs of actions whose weights is 0 to be the same/],
    ['tells the truth about actions without a derivative', changed({ inert: ({ columns }) => Uint8Array.from(columns.advantages, (a) => Number(a === 0)) }), /no derivative of logps\[0\], which `inert` says has none; found -\S+\. The learner leaves its backward pass out/],
    ['tells the truth about actions without a derivative', changed({ inert: () => new Uint8Array(2) }), /`inert` to give a Uint8Array of \d+ entries, one an action; found Uint8Array of 2/],
  ])('fails "%s"', (check, subject, message) => expectViolation(checks[check], subject, message));

  it('fails with the wrong coupling of pairs', () => {
    // The chosen one is compared with the next pair's rejected one: pairs may not be torn from one another.
    const objective: Objective = { ...good, coupling: 'pair', evaluate: ({ logps }, { pairs, normalizer, actionIndex }) => ({ loss: logps!.length === 0 ? 0 : (Math.max(...logps!) * pairs!.length) / normalizer.sequences, grads: { logps: new Float32Array(actionIndex.length) }, metrics: {} }) };
    return expectViolation(checks['adds up from the parts that its coupling allows'], objectiveSubject(objective), /the losses of 3 parts to add up .* Its coupling is "pair"/);
  });

  it('fails where a named weight column is not there', () => expectViolation(checks['leaves out actions of weight 0'], objectiveSubject(good, { weightColumn: 'mask' }), /the column "mask" in the batch; found weights, advantages/));
});

let counter = 0;
