import { EspalierError } from '@espalier/spec';
import { checkpoint, linears, offTape, tidy } from '@espalier/tensor';
import type { BlockOutputs, Tensor, Variable } from '@espalier/tensor';
import { attendCached } from './attend';
import type { Attend, StepCache } from './attend';
import type { DecoderConfig } from './config';
import type { Adapter, Decoder, HiddenOptions } from './decoder';
import { parameterSpecs, scoreName, toHf } from './decoder-weights';
import type { WeightSource } from './weight-source';

/** A linear layer. */
export interface Projection {
  name: string;
  weight: Variable;
  bias: Variable | undefined;
}

/** What the families share: parameters, adapters, the tied head, the walk over the blocks. */
export abstract class BaseDecoder implements Decoder {
  readonly adapters = new Map<string, Adapter>();
  useAdapters = true;
  frozenLayers = 0;
  gradientCheckpointing = false;

  constructor(
    readonly config: DecoderConfig,
    readonly parameters: ReadonlyMap<string, Variable>,
    private readonly shared: ReadonlyMap<string, Variable>,
  ) {}

  abstract hidden(tokens: Int32Array, positions: Int32Array, attend: Attend, options?: HiddenOptions): Tensor;
  protected abstract readonly embeddingName: string;

  step(tokens: Int32Array, positions: Int32Array, cache: StepCache): Tensor {
    return this.hidden(tokens, positions, attendCached(this.config, cache));
  }

  roomForOutputs(_tokens: number): BlockOutputs[] | null {
    return null;
  }

  get trainable(): ReadonlyMap<string, Variable> {
    const all = new Map(this.parameters);
    for (const [name, { a, b }] of this.adapters) all.set(`${name}.lora_A.weight`, a).set(`${name}.lora_B.weight`, b);
    return new Map([...all].filter(([, parameter]) => parameter.trainable));
  }

  lmHead(): { weight: Variable } {
    if (this.config.withoutLmHead) throw new EspalierError('unsupported', 'the model has no language-model head: it was saved for sequence classification', { fix: 'ask it for scores or values, or open the model that it was made from' });
    return { weight: this.parameter(this.config.tieWordEmbeddings ? this.embeddingName : 'lm_head.weight') };
  }

  scalarHead(): { weight: Variable } {
    if (!this.config.scalarHead) throw new EspalierError('unsupported', 'the model has no scalar head', { fix: 'open it with `scalarHead: true`' });
    return { weight: this.parameter(scoreName) };
  }

  weights(): WeightSource {
    const specs = new Map(parameterSpecs(this.config).map((spec) => [spec.name, spec]));
    return {
      tensors: new Map([...specs.values()].map(({ name, stored }) => [name, { name, shape: stored, dtype: 'float32' }])),
      read: (name, into) => {
        const spec = specs.get(name);
        if (!spec) throw new EspalierError('not_found', `the model has no parameter ${name}`);
        const values = toHf(spec, this.parameter(name).dataSync<'float32'>());
        if (!into) return values.slice();
        into.set(values);
        return into;
      },
    };
  }

  dispose(): void {
    for (const [name, parameter] of this.parameters) if (!this.shared.has(name)) parameter.dispose();
    for (const { a, b } of this.adapters.values()) {
      a.dispose();
      b.dispose();
    }
    this.adapters.clear();
  }

  protected parameter(name: string): Variable {
    const parameter = this.parameters.get(name);
    if (!parameter) throw new EspalierError('internal', `the decoder has no parameter ${name}`);
    return parameter;
  }

  /** A linear layer's parameters, looked up once. */
  protected projection(name: string): Projection {
    return { name, weight: this.parameter(`${name}.weight`), bias: this.parameters.get(`${name}.bias`) };
  }

  /** A linear layer, with its adapter where it has one. */
  protected project(x: Tensor, projection: Projection, known?: Tensor): Tensor {
    return this.projectAll(x, [projection], known && [known])[0];
  }

  /** Linear layers of one input, at once. */
  protected projectAll(x: Tensor, projections: readonly Projection[], known?: readonly Tensor[]): Tensor[] {
    const adapterOf = (name: string) => (this.useAdapters ? this.adapters.get(name) : undefined);
    return linears(x, projections.map(({ name, weight, bias }) => ({ weight, bias, adapter: adapterOf(name) })), known);
  }

  /** Runs the blocks; what a block leaves behind is freed before the next, save what a tape keeps. */
  protected blocks(first: Tensor, block: (x: Tensor, layer: number) => Tensor): Tensor {
    let x = first; // [T, D]
    for (let layer = 0; layer < this.config.numLayers; layer++) {
      const next = tidy(() => {
        if (layer < this.frozenLayers) return offTape(() => block(x, layer));
        return this.gradientCheckpointing ? checkpoint((residual) => block(residual, layer), x) : block(x, layer);
      });
      x.dispose();
      x = next;
    }
    return x;
  }

  protected checkPositions(tokens: Int32Array, positions: Int32Array): void {
    if (tokens.length !== positions.length) throw new EspalierError('internal', `${tokens.length} tokens came with ${positions.length} positions`);
    const { maxPositions, architecture, ropeScaling } = this.config;
    if (architecture !== 'gpt2' && ropeScaling?.type !== 'dynamic') return; // rotary positions have no end of their own
    for (const position of positions) {
      if (position >= maxPositions) throw new EspalierError('bad_data', `a sequence reaches position ${position}, the model has ${maxPositions}`, { fix: 'shorten the prompt or the completion' });
    }
  }
}
