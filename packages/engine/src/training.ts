import { EspalierError, type Metrics, type OptimOptions, type OutputName, type OutputOptions, type Outputs } from '@espalier/spec';
import { attendCausally, type Decoder } from '@espalier/models';
import { adamW, addInPlace, dispose, embedding, globalNorm, keep, linear, record, tensor, tensor1d, tokenOutputs, variable, view, withMatmulPrecision, zerosLike, zerosTogether, type Tape, type Tensor, type Variable } from '@espalier/tensor';
import { drawNoise } from './embedding-noise';
import type { KeptForward } from './kept-forward';
import { computedRows, type ComputedRows } from './layout';
import { stepSettings } from './parameter-groups';
import type { BatchPart, Calls, EmbeddingNoise } from './protocol';
import { scoped } from './scoped';
import type { Teacher } from './teacher';

/** How to run a function on the frozen first weights. Null: there are none. */
export type WithReference = (<T>(body: (decoder: Decoder) => T) => T) | null;

/** Of the language-model head. */
const headOutputs = ['logps', 'entropy', 'sumSquares'] as const;
type Differentiable = OutputName;

/** Adam's moments of one parameter, float32, in the parameter's shape. */
export interface Moments {
  m: Variable;
  v: Variable;
}

/** Forward and backward passes, the accumulated gradient and the optimiser: what the learner asks of the engine's thread. */
export class Training {
  /** Optimiser steps taken since the moments were zero. */
  step = 0;
  readonly moments = new Map<string, Moments>();
  /** The accumulated gradient, by parameter. */
  readonly gradients = new Map<string, Tensor>();
  /** While the decoder holds other weights than those that are trained. */
  paused = false;
  private contributions = 0;
  private kept: KeptForward | null = null;
  private readonly tapes = new Map<number, { tape: Tape; names: readonly Differentiable[] }>();
  private nextTape = 1;

  constructor(
    private readonly decoder: Decoder,
    private readonly reference: WithReference,
    private readonly changed: () => void,
    private readonly teacher: Teacher | null = null,
  ) {}

  /** Takes over what generation computes with the weights as they are, for the tokens that are trained on next; null, and whenever the weights change: what there was is forgotten. */
  keep(kept: KeptForward | null): void {
    this.kept?.dispose();
    this.kept = kept;
  }

  /** The named numbers of the part's actions, without a gradient. */
  forward({ part, needs, temperature, reference, precision, outputOptions, noise }: Calls['forward']['params']): Outputs {
    if (reference && !this.reference) throw new EspalierError('unsupported', 'this engine keeps no reference: the first weights are gone once training has begun', { fix: 'open it with `reference: true`, or with LoRA' });
    const run = (decoder: Decoder) =>
      scoped((): Outputs => {
        const { names, tensors } = this.compute(decoder, part, needs, temperature, { outputOptions, noise, fresh: reference || precision !== undefined });
        return Object.fromEntries(names.map((name, i) => [name, (tensors[i].dataSync() as Float32Array).slice()]));
      });
    const compute = () => (reference ? this.reference!(run) : run(this.decoder));
    return precision ? withMatmulPrecision(precision, compute) : compute();
  }

  /** The same with a tape that {@link tapeBackward} runs back over, or {@link tapeDispose} throws away. */
  tapeForward(part: BatchPart, needs: readonly OutputName[], temperature: number, outputOptions?: OutputOptions, noise?: EmbeddingNoise): { tape: number; outputs: Outputs } {
    this.refuseWhilePaused();
    let names: readonly Differentiable[] = [];
    const tape = record(() => {
      const computed = this.compute(this.decoder, part, needs, temperature, { outputOptions, noise, forTape: true });
      names = computed.names;
      return computed.tensors;
    });
    const outputs: Outputs = Object.fromEntries(names.map((name, i) => [name, (tape.outputs[i].dataSync() as Float32Array).slice()]));
    const id = this.nextTape++;
    this.tapes.set(id, { tape, names });
    return { tape: id, outputs };
  }

  /** Adds the gradient of Σ grads · outputs to the accumulated one. */
  tapeBackward(id: number, grads: Outputs): null {
    const { tape, names } = this.take(id);
    const outputGrads = names.map((name) => (grads[name] ? tensor1d(grads[name]) : null));
    try {
      const names = new Map([...this.decoder.trainable].map(([name, variable]) => [variable.id, name]));
      tape.backward(outputGrads, (variable, grad) => this.accumulate(names.get(variable.id)!, grad));
      this.contributions++;
    } finally {
      tape.dispose();
      dispose(outputGrads.filter((grad) => grad !== null));
    }
    return null;
  }

  tapeDispose(id: number): null {
    this.take(id).tape.dispose();
    return null;
  }

  /** A derivative that is zero everywhere is a contribution too: the step that follows decays weights and moments. */
  addZero(): null {
    this.contributions++;
    return null;
  }

  clearGradients(): null {
    for (const { tape } of this.tapes.values()) tape.dispose();
    this.tapes.clear();
    dispose([...this.gradients.values()]);
    this.gradients.clear();
    this.contributions = 0;
    return null;
  }

  /** Clips by the global norm, steps AdamW, forgets the gradient. */
  optimStep(options: OptimOptions): Metrics {
    this.refuseWhilePaused();
    const { learningRate, maxGradNorm = 0, adamBeta1 = 0.9, adamBeta2 = 0.999, adamEpsilon = 1e-8 } = options;
    if (!(learningRate >= 0) || !Number.isFinite(learningRate)) throw new EspalierError('bad_config', `learning rate ${learningRate} is not usable`, { fix: 'zero or a positive number would do' });
    if (this.contributions === 0) throw new EspalierError('usage', 'there is no gradient to step on', { fix: 'call forwardBackward first' });
    const trainable = this.decoder.trainable;
    const names = [...trainable.keys()];
    const params = [...trainable.values()];
    const settings = stepSettings(names, params.map(({ rank }) => rank), options); // prettier-ignore
    const gradNorm = globalNorm([...this.gradients.values()]);
    if (!Number.isFinite(gradNorm)) {
      this.clearGradients();
      throw new EspalierError('bad_data', `the gradient of optimiser step ${this.step + 1} has the norm ${gradNorm}: the step was not taken, the weights are as they were`, { fix: 'lower the learning rate, clip, or look for extreme values in the batch' });
    }
    const scale = maxGradNorm > 0 && Number.isFinite(maxGradNorm) && gradNorm > maxGradNorm ? maxGradNorm / (gradNorm + 1e-6) : 1;
    this.step++;
    this.makeMoments(names.filter((name) => !this.moments.has(name)));
    const moments = names.map((name) => this.moments.get(name)!);
    const absent: Tensor[] = []; // a parameter that nothing depended on
    const grads = names.map((name, i) => this.gradients.get(name) ?? absent[absent.push(zerosLike(params[i])) - 1]);
    adamW({
      params,
      grads,
      m: moments.map(({ m }) => m),
      v: moments.map(({ v }) => v),
      learningRate: settings.map(({ learningRate }) => learningRate),
      beta1: adamBeta1,
      beta2: adamBeta2,
      eps: adamEpsilon,
      weightDecay: settings.map(({ weightDecay }) => weightDecay),
      step: this.step,
      gradScale: scale,
    });
    dispose(absent);
    this.clearGradients();
    this.keep(null);
    this.changed();
    return { grad_norm: gradNorm };
  }

  /** Forgets moments and gradient: the next step is the first. */
  resetOptimizer(): void {
    this.clearGradients();
    this.keep(null);
    for (const { m, v } of this.moments.values()) dispose([m, v]);
    this.moments.clear();
    this.step = 0;
  }

  private refuseWhilePaused(): void {
    if (this.paused) throw new EspalierError('usage', 'the averaged weights are in use: training goes on from the others', { fix: 'call `useEma(false)` first' });
  }

  private makeMoments(names: readonly string[]): void {
    if (names.length === 0) return;
    const shapes = names.map((name) => this.decoder.trainable.get(name)!.shape);
    const made = zerosTogether([...shapes, ...shapes]).map(frozen);
    names.forEach((name, i) => this.moments.set(name, { m: made[i], v: made[names.length + i] }));
  }

  private accumulate(name: string, grad: Tensor): void {
    const sum = this.gradients.get(name);
    if (!sum) {
      this.gradients.set(name, keep(grad));
      return;
    }
    this.gradients.set(name, keep(addInPlace(sum, grad)));
    dispose([sum, grad]);
  }

  private compute(decoder: Decoder, part: BatchPart, needs: readonly OutputName[], temperature: number, options: ComputeOptions): { names: readonly Differentiable[]; tensors: Tensor[] } {
    const { outputOptions = {}, noise, fresh = false, forTape = false } = options;
    const rows = computedRows(part, needs.includes('scores'));
    const found = fresh || noise ? null : (this.kept?.find(rows) ?? null);
    const hidden = decoder.hidden(rows.tokens, rows.positions, attendCausally(decoder.config, rows), {
      noise: noise && noiseTensor(rows, decoder.config.hiddenSize, noise),
      known: found ? this.kept!.known(found, forTape) : undefined,
    }); // [T, D]
    const made = new Map<Differentiable, Tensor>(); // each [A]
    const ofHead = headOutputs.filter((name) => needs.includes(name));
    const predicting = ofHead.length > 0 || needs.includes('values') || needs.includes('teacherDivergence') ? embedding(hidden, rows.predictors) : null; // [A, D]: the hidden states that predict the actions
    if (ofHead.length > 0) {
      const outputs = tokenOutputs(predicting!, decoder.lmHead().weight, Int32Array.from(part.actionIndex, (t) => part.tokens[t]), { temperature, needs: ofHead, keep: !decoder.gradientCheckpointing });
      for (const name of ofHead) made.set(name, outputs[name]!);
    }
    if (needs.includes('teacherDivergence')) made.set('teacherDivergence', this.teacher!.divergence(part, predicting!, decoder.lmHead().weight, outputOptions.teacherDivergence, temperature));
    if (needs.includes('values')) made.set('values', scalars(decoder, predicting!)); // V before the token
    if (needs.includes('scores')) made.set('scores', scalars(decoder, embedding(hidden, rows.actions!))); // after it
    return { names: [...made.keys()], tensors: [...made.values()] };
  }

  private take(id: number): { tape: Tape; names: readonly Differentiable[] } {
    const entry = this.tapes.get(id);
    if (!entry) throw new EspalierError('internal', `there is no tape ${id}`);
    this.tapes.delete(id);
    return entry;
  }
}

interface ComputeOptions {
  outputOptions?: OutputOptions | undefined;
  noise?: EmbeddingNoise | undefined;
  /** Compute everything, whatever is kept: it is of other weights, or in another precision. */
  fresh?: boolean;
  forTape?: boolean;
}

const noiseTensor = (rows: ComputedRows, width: number, noise: EmbeddingNoise) => tensor(drawNoise(rows, width, noise), [rows.tokens.length, width]);

/** The scalar head on hidden states: `[A, D]` → `[A]`. One row of a product costs nothing: it is not rounded to bf16. */
function scalars(decoder: Decoder, hidden: Tensor): Tensor {
  const { weight } = decoder.scalarHead();
  return view(withMatmulPrecision('fp32', () => linear(hidden, weight)), [hidden.shape[0]]);
}

/** A variable that the optimiser writes and no tape differentiates. Takes the tensor over. */
export function frozen(initial: Tensor): Variable {
  const made = variable(initial, false);
  initial.dispose();
  return made;
}
