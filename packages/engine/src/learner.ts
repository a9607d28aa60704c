import {
  assertSpecVersion,
  EspalierError,
  throwIfAborted,
  type Evaluation,
  type Learner,
  type LearnerCapabilities,
  type MetricSums,
  type Objective,
  type OutputName,
  type OutputOptions,
  type Outputs,
  type TokenBatch,
} from '@espalier/spec';
import { firstNonFinite } from '@espalier/objectives';
import { checkBatch } from './check-batch';
import type { Connection } from './connection';
import { noiseOf } from './embedding-noise';
import { gather, microBatches, objectiveBatch, scatterOutputs, type MicroBatch } from './micro-batch';
import { transferable, type EngineInfo } from './protocol';

/** What a model with these heads can give. */
function outputsOf({ config: { withoutLmHead, scalarHead }, teacher }: EngineInfo): OutputName[] {
  return [...(withoutLmHead ? [] : (['logps', 'entropy', 'sumSquares'] as const)), ...(teacher && !withoutLmHead ? (['teacherDivergence'] as const) : []), ...(scalarHead ? (['values', 'scores'] as const) : [])];
}

export interface LearnerOptions {
  info: EngineInfo;
  /** Tokens computed at once in training and scoring, shared prefixes included. */
  maxTokensPerMicroBatch: number;
  /** Called on the caller's thread when an optimiser step has ended. */
  afterStep?(): void;
  close(): Promise<void>;
}

interface TrainOptions {
  signal?: AbortSignal;
  temperature?: number;
  neftuneNoiseAlpha?: number;
  /** Of the noise. */
  seed?: number;
}

type ForwardBackwardResult = { loss: number; metrics: MetricSums };

/**
 * The learner whose weights live on the engine's thread. What crosses the border is token ids, the numbers asked for, and the derivative of the loss
 * with respect to them: the objective itself is evaluated here, between the model's forward and its backward pass.
 */
export class EngineLearner implements Learner {
  readonly specVersion = 'v1' as const;
  readonly capabilities: LearnerCapabilities;
  private turn: Promise<unknown> = Promise.resolve();
  private last: { seq: number; kind: string; answer: Promise<unknown> } | null = null;

  constructor(
    private readonly connection: Connection,
    private readonly options: LearnerOptions,
  ) {
    const { backend, precision } = options.info;
    this.capabilities = { outputs: outputsOf(options.info), sharedPrefixes: true, precision, backend };
  }

  /**
   * The named numbers for each action, without a gradient. `temperature` (default 1) divides the logits; `reference` asks the frozen first weights.
   * @throws EspalierError `bad_data` for a batch that contradicts itself, `unsupported` for an output that this learner does not have
   */
  forward(batch: TokenBatch, needs: readonly OutputName[], options: { signal?: AbortSignal; temperature?: number; reference?: boolean; precision?: 'fp32'; outputOptions?: OutputOptions } = {}): Promise<Outputs> {
    return this.inTurn(async () => {
      this.check(batch, needs, options.temperature);
      return this.forwardParts(batch, needs, microBatches(batch, 'sequence', this.options.maxTokensPerMicroBatch), options);
    });
  }

  /**
   * Adds the gradient of the objective to the accumulated one. When it fails or is aborted, the whole accumulated gradient is forgotten: the step starts over.
   * @throws EspalierError `bad_data` when the batch, the loss or a derivative is not usable; `unsupported` for an output that this learner does not have
   */
  forwardBackward(batch: TokenBatch, objective: Objective, options: { seq?: number } & TrainOptions = {}): Promise<ForwardBackwardResult> {
    return this.once('forwardBackward', options.seq, async () => {
      assertSpecVersion(objective, 'objective');
      this.check(batch, objective.needs, options.temperature);
      if (batch.actionIndex.length === 0) throw new EspalierError('bad_data', 'token batch: it has no actions to train on');
      const parts = microBatches(batch, objective.coupling, this.options.maxTokensPerMicroBatch, objective.inert?.(batch));
      try {
        return await (objective.coupling === 'batch' && parts.length > 1 ? this.trainWhole(batch, objective, parts, options) : this.trainParts(batch, objective, parts, options));
      } catch (error) {
        await this.connection.call('clearGradients', null).catch(() => undefined); // the first error is the one to tell
        throw error;
      }
    });
  }

  /** Clips, steps AdamW and clears the gradient. Metrics: `grad_norm`, before clipping. @throws EspalierError `usage` when no gradient was accumulated, `bad_data` when it is not finite: weights stay as they are */
  optimStep(options: Parameters<Learner['optimStep']>[0], call: { seq?: number } = {}): ReturnType<Learner['optimStep']> {
    return this.once('optimStep', call.seq, async () => {
      const metrics = await this.connection.call('optimStep', options);
      this.options.afterStep?.();
      return metrics;
    });
  }

  /**
   * Moves the reference towards the weights: `ref ← alpha · θ + (1 - alpha) · ref`. From then on it is saved with checkpoints.
   * @throws EspalierError `unsupported` when the engine keeps no copy, `bad_config` for an alpha outside 0 … 1
   */
  mixReference(alpha: number): Promise<void> {
    return this.inTurn(async () => void (await this.connection.call('mixReference', { alpha })));
  }

  /** Forgets the accumulated gradient: the optimiser step is not taken. */
  clearGradients(): Promise<void> {
    return this.inTurn(async () => void (await this.connection.call('clearGradients', null)));
  }

  publish(): ReturnType<Learner['publish']> {
    return this.inTurn(async () => ({ kind: 'memory' as const, ...(await this.connection.call('publish', null)) }));
  }

  save(dir: string): Promise<void> {
    return this.inTurn(async () => void (await this.connection.call('save', { dir })));
  }

  load(dir: string): Promise<void> {
    return this.inTurn(async () => {
      await this.connection.call('load', { dir });
      this.last = null;
    });
  }

  close(): Promise<void> {
    return this.options.close();
  }

  /** Parts one after another: forward with a tape, objective, backward. Metrics and losses add up. */
  private async trainParts(batch: TokenBatch, objective: Objective, parts: readonly MicroBatch[], options: TrainOptions): Promise<ForwardBackwardResult> {
    const total: ForwardBackwardResult = { loss: 0, metrics: {} };
    for (const micro of parts) {
      throwIfAborted(options.signal);
      if (micro.actions.length === 0) {
        // Pairs without a token to train on: nothing to compute, but the objective may count them.
        const nothing: Outputs = Object.fromEntries(objective.needs.map((name) => [name, new Float32Array(0)]));
        const { loss, metrics } = await this.evaluate(objective, nothing, objectiveBatch(batch, micro), null);
        total.loss += loss;
        addMetrics(total.metrics, metrics);
        continue;
      }
      if (micro.inert) {
        // For the metrics alone: no tape, no backward pass.
        const outputs = await this.connection.call('forward', { part: micro.part, needs: objective.needs, temperature: options.temperature ?? 1, reference: false, outputOptions: objective.outputOptions, noise: noiseOf(batch, micro, options) });
        const { loss, grads, metrics } = await this.evaluate(objective, outputs, objectiveBatch(batch, micro), null);
        if (!isZero(grads)) throw new EspalierError('bad_data', `objective "${objective.name}" gave derivatives for actions that its \`inert\` says have none`);
        total.loss += loss;
        addMetrics(total.metrics, metrics);
        await this.connection.call('addZero', null);
        continue;
      }
      const { tape, outputs } = await this.connection.call('tapeForward', { part: micro.part, needs: objective.needs, temperature: options.temperature ?? 1, outputOptions: objective.outputOptions, noise: noiseOf(batch, micro, options) });
      const evaluation = await this.evaluate(objective, outputs, objectiveBatch(batch, micro), tape);
      total.loss += evaluation.loss;
      addMetrics(total.metrics, evaluation.metrics);
      await this.backward(tape, evaluation.grads);
    }
    return total;
  }

  /** One objective over everything: all outputs first, without a tape; then each part again, with the slice of the derivative that is its own. */
  private async trainWhole(batch: TokenBatch, objective: Objective, parts: readonly MicroBatch[], options: TrainOptions): Promise<ForwardBackwardResult> {
    const outputs = await this.forwardParts(batch, objective.needs, parts, { ...options, outputOptions: objective.outputOptions });
    const { loss, grads, metrics } = await this.evaluate(objective, outputs, batch, null);
    for (const micro of parts) {
      const slice = Object.fromEntries(Object.entries(grads).map(([name, grad]) => [name, gather(grad, micro.actions)])) as Outputs;
      if (isZero(slice)) {
        await this.connection.call('addZero', null);
        continue;
      }
      throwIfAborted(options.signal);
      const { tape } = await this.connection.call('tapeForward', { part: micro.part, needs: objective.needs, temperature: options.temperature ?? 1, outputOptions: objective.outputOptions, noise: noiseOf(batch, micro, options) });
      await this.backward(tape, slice);
    }
    return { loss, metrics };
  }

  private async forwardParts(batch: TokenBatch, needs: readonly OutputName[], parts: readonly MicroBatch[], options: { signal?: AbortSignal; temperature?: number; reference?: boolean; precision?: 'fp32'; outputOptions?: OutputOptions } & TrainOptions): Promise<Outputs> {
    const length = batch.actionIndex.length;
    const whole: Outputs = Object.fromEntries(needs.map((name) => [name, new Float32Array(length)]));
    for (const micro of parts) {
      throwIfAborted(options.signal);
      if (micro.actions.length === 0) continue;
      const outputs = await this.connection.call('forward', { part: micro.part, needs, temperature: options.temperature ?? 1, reference: options.reference ?? false, precision: options.precision, outputOptions: options.outputOptions, noise: noiseOf(batch, micro, options) });
      scatterOutputs(whole, outputs, micro.actions, length);
    }
    return whole;
  }

  private async evaluate(objective: Objective, outputs: Outputs, batch: TokenBatch, tape: number | null): Promise<Evaluation> {
    try {
      const evaluation = objective.evaluate(outputs, batch);
      checkEvaluation(evaluation, objective, batch.actionIndex.length);
      return evaluation;
    } catch (error) {
      if (tape !== null) await this.connection.call('tapeDispose', { tape });
      throw error;
    }
  }

  /** A derivative that is zero everywhere (a group whose rewards are all alike) costs no backward pass. */
  private async backward(tape: number, grads: Outputs): Promise<void> {
    if (isZero(grads)) {
      await this.connection.call('tapeDispose', { tape });
      await this.connection.call('addZero', null);
    } else {
      const copies = Object.fromEntries(Object.entries(grads).map(([name, grad]) => [name, grad.slice()])) as Outputs; // the objective may keep its own
      await this.connection.call('tapeBackward', { tape, grads: copies }, { transfer: transferable(Object.values(copies)) });
    }
  }

  private check(batch: TokenBatch, needs: readonly OutputName[], temperature = 1): void {
    const { outputs } = this.capabilities;
    const missing = needs.filter((name) => !outputs.includes(name));
    if (missing.length > 0) {
      const scalar = missing.some((name) => name === 'values' || name === 'scores');
      throw new EspalierError('unsupported', `the local learner has no output ${missing.map((name) => `"${name}"`).join(', ')}`, { fix: `it has ${outputs.join(', ')}${scalar ? '; values and scores come with `openEngine({ scalarHead: true })`' : ''}${missing.includes('teacherDivergence') ? '; teacherDivergence comes with `openEngine({ teacher })`' : ''}` });
    }
    if (!(temperature > 0) || !Number.isFinite(temperature)) throw new EspalierError('bad_config', `temperature ${temperature} cannot divide logits`, { fix: 'a positive number would do' });
    const { config, maxPositions, teacher } = this.options.info;
    const positions = needs.includes('teacherDivergence') ? Math.min(maxPositions, teacher!.maxPositions) : maxPositions;
    checkBatch(batch, { vocabSize: config.vocabSize, maxPositions: positions, firstTokens: needs.every((name) => name === 'scores') });
  }

  /** One call after another, in the order in which they were made. */
  private inTurn<T>(body: () => Promise<T>): Promise<T> {
    const result = this.turn.then(body);
    this.turn = result.catch(() => undefined);
    return result;
  }

  /** A repeated sequence number gives the answer that it gave before, and does nothing. A call that failed may be repeated. */
  private once<T>(kind: string, seq: number | undefined, body: () => Promise<T>): Promise<T> {
    if (seq === undefined) return this.inTurn(body);
    if (this.last && seq === this.last.seq) {
      if (this.last.kind === kind) return this.last.answer as Promise<T>;
      return Promise.reject(new EspalierError('usage', `sequence number ${seq} was used for ${this.last.kind} and now for ${kind}`, { fix: 'number the calls one after another' }));
    }
    if (this.last && seq < this.last.seq) return Promise.reject(new EspalierError('usage', `sequence number ${seq} comes after ${this.last.seq}`, { fix: 'only the last call may be repeated' }));
    const answer = this.inTurn(body);
    const mine = { seq, kind, answer };
    this.last = mine;
    answer.catch(() => {
      if (this.last === mine) this.last = null;
    });
    return answer;
  }
}

function addMetrics(total: MetricSums, part: MetricSums): void {
  for (const [name, { sum, weight }] of Object.entries(part)) {
    const entry = (total[name] ??= { sum: 0, weight: 0 });
    entry.sum += sum;
    entry.weight += weight;
  }
}

function isZero(grads: Outputs): boolean {
  return Object.values(grads).every((grad) => allZero(grad));
}

function allZero(grad: Float32Array): boolean {
  for (let i = 0; i < grad.length; i++) if (grad[i] !== 0) return false;
  return true;
}

function checkEvaluation({ loss, grads }: Evaluation, objective: Objective, actions: number): void {
  if (!Number.isFinite(loss)) throw new EspalierError('bad_data', `objective "${objective.name}" gave the loss ${loss}`, { fix: 'look at its columns (log-probs, advantages, weights) for values that are not finite' });
  for (const [name, grad] of Object.entries(grads) as [OutputName, Float32Array][]) {
    if (!objective.needs.includes(name)) throw new EspalierError('bad_data', `objective "${objective.name}" gave a derivative with respect to "${name}", which it does not name in needs`);
    if (grad.length !== actions) throw new EspalierError('bad_data', `objective "${objective.name}" gave ${grad.length} derivatives of "${name}" for ${actions} actions`);
    const at = firstNonFinite(grad);
    if (at >= 0) throw new EspalierError('bad_data', `objective "${objective.name}" gave ${grad[at]} as the derivative of "${name}" at action ${at}`);
  }
}
