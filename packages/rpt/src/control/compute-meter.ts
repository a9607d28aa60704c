import type { Learner, Objective, TokenBatch } from '@espalier/spec';
import type { Json } from '@espalier/trainer';

/** Tokens that went through the model. */
export interface ComputeCount {
  /** Sampled, and the prompts that they were sampled from (of a group once). */
  generated: number;
  /** Forward, in training and to score. */
  forward: number;
  /** Backward. */
  backward: number;
}

/** What the passes cost, in tokens forward: a backward pass takes the arithmetic of two. */
export const computeUnits = ({ generated, forward, backward }: ComputeCount): number => generated + forward + 2 * backward;

/**
 * Counts tokens where they pass: learners that score, objectives that are trained. The count is saved with checkpoints.
 * @example
 * const meter = new ComputeMeter();
 * await meter.learner(learner).forward(batch, ['logps']);
 * meter.count; // { generated: 0, forward: batch.tokens.length, backward: 0 }
 */
export class ComputeMeter {
  count: ComputeCount = { generated: 0, forward: 0, backward: 0 };

  generated(tokens: number): void {
    this.count = { ...this.count, generated: this.count.generated + tokens };
  }

  /** The learner, whose forward passes without a gradient are counted. */
  learner(learner: Learner): Learner {
    return new Proxy(learner, {
      get: (target, key) => {
        if (key === 'forward') {
          return (batch: TokenBatch, ...rest: [needs: never, options?: never]) => {
            this.passed(batch, false);
            return target.forward(batch, ...rest);
          };
        }
        const value: unknown = Reflect.get(target, key);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
  }

  /** The objective, evaluated once a forward pass in training; where its derivatives are all zero no backward pass follows. */
  objective(objective: Objective): Objective {
    return {
      ...objective,
      evaluate: (outputs, batch) => {
        const evaluation = objective.evaluate(outputs, batch);
        this.passed(batch, Object.values(evaluation.grads).some((grad) => grad.some((slope) => slope !== 0)));
        return evaluation;
      },
    };
  }

  state(): Json {
    return { ...this.count };
  }

  restore(state: Json): void {
    this.count = { ...(state as unknown as ComputeCount) };
  }

  private passed({ tokens }: TokenBatch, backward: boolean): void {
    const { forward, backward: back } = this.count;
    this.count = { ...this.count, forward: forward + tokens.length, backward: back + (backward ? tokens.length : 0) };
  }
}
