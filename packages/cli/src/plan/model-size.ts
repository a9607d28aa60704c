import { parameterSpecs, projectionSpecs, type DecoderConfig } from '@espalier/models';
import type { PlannedModel, RunPlan } from '@espalier/trainer';

export interface ModelSize {
  parameters: number;
  trainable: number;
  /** Of the linear layers inside the blocks: two floating-point operations each a token, forward. */
  blocks: number;
  /** Of the language-model head. */
  head: number;
}

const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** How large a model is, from its configuration alone, as a run trains it. */
export function modelSize({ config }: PlannedModel, run: Pick<RunPlan, 'lora' | 'engine'>): ModelSize {
  const specs = parameterSpecs({ ...config, ...(run.engine.scalarHead ? { scalarHead: true } : {}) });
  const projections = projectionSpecs(config);
  const parameters = specs.reduce((sum, { shape }) => sum + product(shape), 0);
  const blocks = projections.reduce((sum, { inputs, outputs }) => sum + inputs * outputs, 0);
  return { parameters, trainable: trainableOf(config, run, parameters), blocks, head: config.vocabSize * config.hiddenSize };
}

function trainableOf(config: DecoderConfig, { lora, engine }: Pick<RunPlan, 'lora' | 'engine'>, parameters: number): number {
  if (lora) {
    const { rank, targets } = lora;
    return projectionSpecs(config)
      .filter(({ name }) => targets === null || targets.includes('all-linear') || targets.some((target) => name.endsWith(target)))
      .reduce((sum, { inputs, outputs }) => sum + rank * (inputs + outputs), 0);
  }
  if (!engine.freeze) return parameters;
  const frozen = parameterSpecs(config).filter(({ name, role }) => role === 'embedding' || Number(/\.(?:layers|h)\.(\d+)\./.exec(name)?.[1] ?? Infinity) < engine.freeze!.layers);
  return parameters - frozen.reduce((sum, { shape }) => sum + product(shape), 0);
}
