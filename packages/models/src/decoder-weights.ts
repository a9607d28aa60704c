import { EspalierError } from '@espalier/spec';
import type { DecoderConfig } from './config';
import type { WeightSource } from './weight-source';

/** One parameter of a decoder: its name and shape in Hugging Face's files, and how it lies in memory here. */
export interface ParameterSpec {
  name: string;
  /** In the file. */
  stored: readonly number[];
  /** In memory: every projection is `[out, in]`. */
  shape: readonly number[];
  /** gpt2's Conv1D keeps its weights `[in, out]`. */
  transposed: boolean;
  role: 'embedding' | 'projection' | 'bias' | 'norm' | 'normBias' | 'scalarHead';
  /** Projections that write into the residual stream. */
  residual: boolean;
}

/** A projection's parameters and its name in PEFT's terms (`q_proj`, `c_attn` …). */
export interface ProjectionSpec {
  /** Without `.weight`. */
  name: string;
  inputs: number;
  outputs: number;
}

/** Every parameter of a decoder, in the order of a Hugging Face checkpoint. A tied head has none of its own. */
export function parameterSpecs(config: DecoderConfig): ParameterSpec[] {
  const specs = config.architecture === 'gpt2' ? gpt2Specs(config) : llamaSpecs(config);
  if (!config.tieWordEmbeddings && !config.withoutLmHead) specs.push(plain('lm_head.weight', [config.vocabSize, config.hiddenSize], 'projection'));
  if (config.scalarHead) specs.push(plain(scoreName, [1, config.hiddenSize], 'scalarHead'));
  return specs;
}

/** The scalar head's name in transformers' `…ForSequenceClassification`. */
export const scoreName = 'score.weight';

/** The linear layers inside the decoder's blocks: what LoRA can adapt. */
export function projectionSpecs(config: DecoderConfig): ProjectionSpec[] {
  return parameterSpecs(config)
    .filter(({ role, name }) => role === 'projection' && name !== 'lm_head.weight')
    .map(({ name, shape }) => ({ name: name.slice(0, -'.weight'.length), inputs: shape[1], outputs: shape[0] }));
}

const plain = (name: string, shape: readonly number[], role: ParameterSpec['role'], residual = false): ParameterSpec => ({ name, stored: shape, shape, transposed: false, role, residual });

function llamaSpecs(c: DecoderConfig): ParameterSpec[] {
  const specs = [plain('model.embed_tokens.weight', [c.vocabSize, c.hiddenSize], 'embedding')];
  const [q, kv] = [c.numHeads * c.headDim, c.numKvHeads * c.headDim];
  const project = (name: string, outputs: number, inputs: number, bias: boolean, residual = false) => {
    specs.push(plain(`${name}.weight`, [outputs, inputs], 'projection', residual));
    if (bias) specs.push(plain(`${name}.bias`, [outputs], 'bias'));
  };
  for (let layer = 0; layer < c.numLayers; layer++) {
    const at = `model.layers.${layer}`;
    specs.push(plain(`${at}.input_layernorm.weight`, [c.hiddenSize], 'norm'));
    project(`${at}.self_attn.q_proj`, q, c.hiddenSize, c.attentionBias);
    project(`${at}.self_attn.k_proj`, kv, c.hiddenSize, c.attentionBias);
    project(`${at}.self_attn.v_proj`, kv, c.hiddenSize, c.attentionBias);
    project(`${at}.self_attn.o_proj`, c.hiddenSize, q, c.attentionOutputBias, true);
    if (c.qkNorm) specs.push(plain(`${at}.self_attn.q_norm.weight`, [c.headDim], 'norm'), plain(`${at}.self_attn.k_norm.weight`, [c.headDim], 'norm'));
    specs.push(plain(`${at}.post_attention_layernorm.weight`, [c.hiddenSize], 'norm'));
    project(`${at}.mlp.gate_proj`, c.intermediateSize, c.hiddenSize, c.mlpBias);
    project(`${at}.mlp.up_proj`, c.intermediateSize, c.hiddenSize, c.mlpBias);
    project(`${at}.mlp.down_proj`, c.hiddenSize, c.intermediateSize, c.mlpBias, true);
  }
  specs.push(plain('model.norm.weight', [c.hiddenSize], 'norm'));
  return specs;
}

function gpt2Specs(c: DecoderConfig): ParameterSpec[] {
  const specs = [plain('transformer.wte.weight', [c.vocabSize, c.hiddenSize], 'embedding'), plain('transformer.wpe.weight', [c.maxPositions, c.hiddenSize], 'embedding')];
  const norm = (name: string) => specs.push(plain(`${name}.weight`, [c.hiddenSize], 'norm'), plain(`${name}.bias`, [c.hiddenSize], 'normBias'));
  const conv1d = (name: string, inputs: number, outputs: number, residual = false) => {
    specs.push({ name: `${name}.weight`, stored: [inputs, outputs], shape: [outputs, inputs], transposed: true, role: 'projection', residual });
    specs.push(plain(`${name}.bias`, [outputs], 'bias'));
  };
  for (let layer = 0; layer < c.numLayers; layer++) {
    const at = `transformer.h.${layer}`;
    norm(`${at}.ln_1`);
    conv1d(`${at}.attn.c_attn`, c.hiddenSize, 3 * c.hiddenSize);
    conv1d(`${at}.attn.c_proj`, c.hiddenSize, c.hiddenSize, true);
    norm(`${at}.ln_2`);
    conv1d(`${at}.mlp.c_fc`, c.hiddenSize, c.intermediateSize);
    conv1d(`${at}.mlp.c_proj`, c.intermediateSize, c.hiddenSize, true);
  }
  norm('transformer.ln_f');
  return specs;
}

/**
 * Reads one parameter from a checkpoint into the layout of memory. GPT-2's oldest files leave out the `transformer.` of its names.
 * @throws EspalierError `bad_checkpoint` when it is missing or has another shape
 */
export function readParameter(source: WeightSource, spec: ParameterSpec): Float32Array {
  const stored = source.tensors.get(spec.name) ?? source.tensors.get(spec.name.replace(/^transformer\./, ''));
  if (!stored) throw new EspalierError('bad_checkpoint', `the checkpoint has no tensor ${spec.name}`, { fix: 'it and config.json should be of one model' });
  if (stored.shape.join() !== spec.stored.join()) {
    throw new EspalierError('bad_checkpoint', `tensor ${spec.name} has the shape [${stored.shape.join(', ')}], config.json says [${spec.stored.join(', ')}]`);
  }
  return fromHf(spec, source.read(stored.name));
}

/** From the layout of Hugging Face's files to that of memory. */
export const fromHf = (spec: ParameterSpec, data: Float32Array): Float32Array => (spec.transposed ? transposed(data, spec.stored[0], spec.stored[1]) : data);

/** From the layout of memory to that of Hugging Face's files. */
export const toHf = (spec: ParameterSpec, data: Float32Array): Float32Array => (spec.transposed ? transposed(data, spec.shape[0], spec.shape[1]) : data);

function transposed(data: Float32Array, rows: number, columns: number): Float32Array {
  const result = new Float32Array(data.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) result[j * rows + i] = data[i * columns + j];
  return result;
}
