import { randomUUID } from 'node:crypto';
import { EspalierError } from '@espalier/spec';
import { addLora, createDecoder, freezeLayers, openCheckpoint, parameterSpecs, readParameter, saveCheckpoint, withHeadOf, withScalarHead, type Checkpoint, type Decoder, type DecoderConfig, type WeightSource } from '@espalier/models';
import { matmulPrecision, memory, selectBackend, setMatmulPrecision, type BackendReport, type Variable } from '@espalier/tensor';
import { readAdapter, writeAdapter } from './adapter';
import { Decoding } from './decode/decoding';
import { Ema } from './ema';
import { fingerprint } from './fingerprint';
import { KeptForward } from './kept-forward';
import { openOptimizer, saveOptimizer } from './optimizer-file';
import type { EngineInfo, EngineMemory, LoraOptions, OpenParams } from './protocol';
import { assign, mixReference, openReference, saveReference } from './reference-file';
import { loadWeights, mergedWeights } from './stored-weights';
import { Teacher } from './teacher';
import { Training, type WithReference } from './training';

/** One model with everything that trains it and generates from it. It lives on the engine's thread. */
export class EngineModel {
  readonly info: EngineInfo;
  readonly training: Training;
  readonly decoding: Decoding;
  private readonly lora: LoraOptions | undefined;
  private readonly ema: Ema | null;
  private referenceMoved = false;
  private readonly limits: Pick<OpenParams, 'samplerWeights' | 'maxBatchSize' | 'maxCacheBytes' | 'prefillTokens'>;
  private teacherDecoding: Decoding | null = null;
  private version = 0;
  private published: { version: number; digest: string } | null = null;

  private constructor(
    params: OpenParams,
    backend: BackendReport,
    private readonly source: ModelSource,
    private readonly decoder: Decoder,
    private readonly frozen: Decoder | null,
    private readonly teacher: Teacher | null,
  ) {
    const { checkpoint } = source;
    const { config } = decoder;
    this.lora = params.lora;
    this.ema = params.ema ? new Ema(decoder, params.ema.decay) : null;
    this.limits = params;
    this.info = {
      id: randomUUID(),
      backend: backend.name,
      withoutNative: backend.attempts.find(({ name, available }) => name === 'native' && !available)?.reason,
      ...(backend.notice && { notice: backend.notice }),
      precision: matmulPrecision(),
      ...(params.samplerWeights && { samplerWeights: params.samplerWeights }),
      config,
      parameterCount: count(decoder.parameters),
      trainableCount: count(decoder.trainable),
      eosTokenIds: config.eosTokenIds,
      maxPositions: config.maxPositions,
      ...(teacher && { teacher: { parameterCount: count(teacher.decoder.parameters), maxPositions: teacher.decoder.config.maxPositions } }),
    };
    decoder.gradientCheckpointing = params.gradientCheckpointing;
    this.training = new Training(decoder, referenceOf(decoder, frozen), () => this.stepped(), teacher);
    const keeping = {
      begin: (requests: Parameters<typeof KeptForward.for>[1]) => {
        this.training.keep(null); // before there is room for another
        const kept = KeptForward.for(decoder, requests, params.maxTokensPerMicroBatch);
        this.training.keep(kept);
        return kept;
      },
      drop: () => this.training.keep(null),
    };
    this.decoding = new Decoding(decoder, checkpoint.tokenizer, { ...params, vocabSize: config.vocabSize, maxPositions: config.maxPositions, eosTokenIds: config.eosTokenIds, version: () => this.version, keeping });
  }

  static async open(params: OpenParams): Promise<EngineModel> {
    const backend = await selectBackend(params.backend);
    if (params.precision) setMatmulPrecision(params.precision);
    if (params.samplerWeights && backend.name !== 'native') throw new EspalierError('unsupported', `the sampler's weights in ${params.samplerWeights} need the backend native, and this one is ${backend.name}`, { fix: 'leave `samplerWeights` out, or see why with `espalier doctor`' });
    const checkpoint = await openCheckpoint(params.model);
    const made: Decoder[] = [];
    try {
      const source = sourceOf(checkpoint, params);
      const decoder = createDecoder(source.config, source.weights);
      made.push(decoder);
      if (params.lora) addLora(decoder, { ...params.lora, seed: params.seed });
      const shared = params.freeze && freezeLayers(decoder, params.freeze.layers);
      const frozen = params.reference && !params.lora ? createDecoder(source.config, source.weights, { trainable: false, shared }) : null;
      if (frozen) made.push(frozen);
      const teacher = params.teacher === undefined ? null : await Teacher.open(params.teacher, checkpoint);
      if (teacher) made.push(teacher.decoder);
      return new EngineModel(params, backend, source, decoder, frozen, teacher);
    } catch (error) {
      for (const decoder of made) decoder.dispose();
      throw error;
    } finally {
      checkpoint.close();
    }
  }

  /** The version and its digest; computed once a version. */
  publish(): { version: number; digest: string; id: string } {
    if (this.published?.version !== this.version) this.published = { version: this.version, digest: fingerprint(new Map([...this.decoder.parameters, ...this.decoder.trainable])) };
    return { ...this.published, id: this.info.id };
  }

  /** Weights in fp32, configuration, tokenizer and optimiser state: what {@link load} resumes from to the byte. */
  save(dir: string): null {
    const averaged = this.ema?.inUse ?? false;
    this.ema?.use(false);
    try {
      this.exportModel(dir, 'fp32', false);
      saveOptimizer(dir, this.training);
      this.ema?.save(dir);
      if (this.frozen && this.referenceMoved) saveReference(dir, this.frozen, this.decoder);
    } finally {
      this.ema?.use(averaged);
    }
    return null;
  }

  /** Weights for others to load: a model's folder, or with LoRA and without `merge` PEFT's adapter beside the tokenizer. */
  exportModel(dir: string, dtype: 'fp32' | 'bf16' | 'fp16', merge: boolean): null {
    const { checkpoint, config } = this.source;
    const { generationConfig, path } = checkpoint;
    const tokenizer = checkpoint.hasTokenizer ? checkpoint.tokenizer : undefined;
    const padTokenId = tokenizer?.padTokenId ?? tokenizer?.eosTokenId ?? config.padTokenId; // where transformers looks for the last token that counts
    const configJson = withHeadOf(checkpoint.configJson, { ...config, padTokenId });
    const format = ({ fp32: 'float32', bf16: 'bfloat16', fp16: 'float16' } as const)[dtype];
    if (this.lora && !merge) {
      writeAdapter(dir, this.decoder, this.lora, path, format);
      tokenizer?.save(dir);
    } else saveCheckpoint(dir, { weights: this.lora ? mergedWeights(this.decoder) : this.decoder.weights(), configJson, generationConfig, tokenizer, dtype: format });
    return null;
  }

  /** Replaces weights (with LoRA: the adapter), optimiser state, average and reference, after they were checked. The accumulated gradient is forgotten. */
  async load(dir: string): Promise<null> {
    const optimizer = openOptimizer(dir, this.decoder.trainable);
    try {
      const average = this.ema?.open(dir);
      const reference = this.frozen && (openReference(dir, this.frozen, this.decoder) ?? (this.referenceMoved ? await this.firstReference() : null));
      this.useEma(false);
      if (this.lora) readAdapter(dir, this.decoder);
      else await this.loadModel(dir);
      optimizer.restore(this.training);
      average?.restore();
      reference?.restore();
      this.training.keep(null);
      if (reference) this.referenceMoved = reference.moved;
    } finally {
      optimizer.close();
    }
    this.version++;
    return null;
  }

  private async loadModel(dir: string): Promise<void> {
    const stored = await openCheckpoint(dir);
    try {
      loadWeights(this.decoder, stored, dir);
    } finally {
      stored.close();
    }
  }

  memory(): EngineMemory {
    const { numTensors, numBytes } = memory();
    const { rss, heapUsed } = process.memoryUsage();
    return { numTensors, numBytes, rss, heapUsed };
  }

  /** @throws EspalierError `unsupported` without a copy, `bad_config`, `usage` while the average is in use */
  mixReference(alpha: number): null {
    if (!this.frozen) throw new EspalierError('unsupported', this.lora ? 'with LoRA the reference is the model without its adapter: it cannot move' : 'this engine keeps no reference that could move', { fix: this.lora ? 'train the weights themselves, with `reference: true`' : 'open it with `reference: true`' });
    if (!(alpha >= 0 && alpha <= 1)) throw new EspalierError('bad_config', `\`ref_model_mixup_alpha\` is ${alpha}`, { fix: 'a number from 0 to 1; 0.6 is TRL\'s' });
    if (this.ema?.inUse) throw new EspalierError('usage', 'the averaged weights are in use', { fix: 'call `useEma(false)` first' });
    mixReference(this.frozen, this.decoder, alpha);
    this.referenceMoved = true;
    return null;
  }

  /** @throws EspalierError `unsupported` without an average */
  useEma(on: boolean): null {
    if (!this.ema) {
      if (!on) return null;
      throw new EspalierError('unsupported', 'this engine keeps no average of its weights', { fix: 'open it with `ema: { decay: 0.999 }`' });
    }
    if (this.ema.inUse === on) return null;
    this.ema.use(on);
    this.training.paused = on;
    this.training.keep(null);
    this.version++;
    return null;
  }

  private stepped(): void {
    this.version++;
    this.ema?.update();
  }

  /** The reference as it was before it moved, read again. */
  private async firstReference(): Promise<{ restore(): void; moved: boolean }> {
    const checkpoint = await openCheckpoint(this.source.params.model);
    try {
      const { config, weights } = sourceOf(checkpoint, this.source.params);
      const own = parameterSpecs(config).filter(({ name }) => this.frozen!.parameters.get(name) !== this.decoder.parameters.get(name));
      const values = own.map((spec) => ({ name: spec.name, data: readParameter(weights, spec) }));
      return { moved: false, restore: () => values.forEach(({ name, data }) => assign(this.frozen!, name, data)) };
    } finally {
      checkpoint.close();
    }
  }

  /**
   * What generates: the model itself, or its teacher.
   * @throws EspalierError `unsupported` without a teacher
   */
  decodingOf(teacher: boolean): Decoding {
    if (!teacher) return this.decoding;
    if (!this.teacher) throw new EspalierError('unsupported', 'this engine has no teacher to generate with', { fix: 'open it with `teacher`' });
    const { decoder, tokenizer } = this.teacher;
    const { vocabSize, maxPositions } = decoder.config;
    // A completion ends where the student ends it: it is to learn that too.
    return (this.teacherDecoding ??= new Decoding(decoder, tokenizer, { ...this.limits, vocabSize, maxPositions, eosTokenIds: this.info.eosTokenIds, version: () => 0 }));
  }

  dispose(): void {
    this.decoding.dispose();
    this.teacherDecoding?.dispose();
    this.teacher?.decoder.dispose();
    this.training.resetOptimizer();
    this.decoder.dispose();
    this.frozen?.dispose();
    this.ema?.dispose();
  }
}

/** What the weights are read from: a checkpoint, with the heads that were asked for. */
interface ModelSource {
  params: OpenParams;
  checkpoint: Checkpoint;
  config: DecoderConfig;
  weights: WeightSource;
}

function sourceOf(checkpoint: Checkpoint, params: OpenParams): ModelSource {
  const { scalarHead, seed } = params;
  const { scalarHead: stored, ...config } = checkpoint.config;
  if (scalarHead ?? stored) return { params, checkpoint, ...withScalarHead(config, checkpoint, seed) };
  return { params, checkpoint, config, weights: checkpoint };
}

/** Without its adapters, a model under LoRA is its own reference; otherwise there is one if a copy was kept. */
function referenceOf(decoder: Decoder, frozen: Decoder | null): WithReference {
  if (frozen) return (body) => body(frozen);
  if (decoder.adapters.size === 0) return null;
  return (body) => {
    decoder.useAdapters = false;
    try {
      return body(decoder);
    } finally {
      decoder.useAdapters = true;
    }
  };
}

const count = (parameters: ReadonlyMap<string, Variable>) => [...parameters.values()].reduce((sum, { size }) => sum + size, 0);
