import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Engine } from '@espalier/engine';
import { EspalierError, throwIfAborted, type Learner, type TokenBatch } from '@espalier/spec';
import { writeFileDurably } from '@espalier/spec/files';
import { openPolicy, type ModelArgumentsInput, type Policy, type TrainerCallback } from '@espalier/trainer';

/** How to look at examples whose log-probs under the reference are computed beforehand. */
export interface Precomputed<Example> {
  /** All tokens of the example, which say whether stored numbers are its own. */
  tokens(example: Example): readonly Int32Array[];
  /** How many numbers belong to it. */
  size(example: Example): number;
  get(example: Example): Float32Array | null;
  set(example: Example, numbers: Float32Array): void;
  /** Computes the numbers of some examples. */
  compute(examples: readonly Example[], logps: (batch: TokenBatch) => Promise<Float32Array>): Promise<Float32Array[]>;
}

export interface ReferenceOptions {
  /** Another model than the policy's first weights. */
  refModel?: string | Engine;
  modelArgs?: ModelArgumentsInput;
  args: { precomputeRefLogProbs: boolean; precomputeRefBatchSize?: number; syncRefModel: boolean; refModelMixupAlpha: number; refModelSyncSteps: number; perDeviceTrainBatchSize: number; perDeviceEvalBatchSize: number; outputDir?: string };
  inline?: boolean;
}

/**
 * The model that the policy is held to: a frozen copy of its first weights, the weights below an adapter, numbers computed before training, a model of
 * its own, or a copy that follows the policy slowly.
 */
export class Reference {
  private own: Promise<Policy> | null = null;
  private store: { name: string; content: Uint8Array }[] = [];

  /** @throws EspalierError `bad_config` when the options contradict one another */
  constructor(private readonly options: ReferenceOptions) {
    const { args, modelArgs, refModel } = options;
    if (args.syncRefModel && (modelArgs?.usePeft || refModel !== undefined)) {
      throw new EspalierError('bad_config', `\`sync_ref_model\` moves a copy of the policy, and the reference is ${refModel !== undefined ? 'another model' : 'the model without its adapter'}`, { fix: '`sync_ref_model` false, or full fine-tuning without `refModel`' });
    }
  }

  /** Whether the policy's engine must keep a copy of the first weights. */
  get needsCopy(): boolean {
    return this.options.refModel === undefined && !this.options.args.precomputeRefLogProbs;
  }

  /**
   * Whether the numbers of an example are worth remembering: they are the same whenever they are computed, and whatever with. A resumed run, which has to compute them anew, then goes on to
   * the same bytes.
   */
  standsStill(policy: Learner): boolean {
    return this.needsCopy && !this.options.args.syncRefModel && policy.capabilities.backend === 'native';
  }

  /** What identifies the reference in the configuration of a run. */
  get config(): { [name: string]: string } {
    const { refModel } = this.options;
    return refModel === undefined ? {} : { refModel: typeof refModel === 'string' ? refModel : 'engine' };
  }

  /** Log-probs under the reference, at the weights that it has now. [A] */
  async logps(policy: Learner, batch: TokenBatch, signal?: AbortSignal): Promise<Float32Array> {
    const other = await this.open(signal);
    const outputs = other ? await other.learner.forward(batch, ['logps'], { signal }) : await policy.forward(batch, ['logps'], { signal, reference: true });
    return outputs.logps!;
  }

  /**
   * Computes what is missing of the reference's numbers, with the weights that the policy has now: before training, its first. On resume they are read
   * from the run's folder when it holds them.
   */
  async precompute<Example>(policy: Policy, sets: readonly { examples: readonly Example[]; batchSize: number }[], how: Precomputed<Example>, call: { resume: boolean | string; signal?: AbortSignal }): Promise<void> {
    const { args, modelArgs } = this.options;
    const below = modelArgs?.usePeft === true; // the weights below an adapter never change
    const other = await this.open(call.signal);
    const logps = async (batch: TokenBatch) => (other ? await other.learner.forward(batch, ['logps'], { signal: call.signal }) : await policy.learner.forward(batch, ['logps'], { signal: call.signal, reference: below })).logps!;
    for (const { examples, batchSize } of sets) {
      if (examples.length === 0 || examples.every((example) => how.get(example) !== null)) continue;
      const name = `reference-logps-${digestOf(examples, how, JSON.stringify([policy.config, this.config]))}.bin`;
      const size = examples.reduce((sum, example) => sum + how.size(example), 0);
      const stored = call.resume !== false && args.outputDir !== undefined ? await readNumbers(join(args.outputDir, name), size) : null;
      let numbers: Float32Array[];
      if (stored) {
        let at = 0;
        numbers = examples.map((example) => stored.slice(at, (at += how.size(example))));
      } else {
        numbers = [];
        for (let start = 0; start < examples.length; start += batchSize) {
          throwIfAborted(call.signal);
          numbers.push(...(await how.compute(examples.slice(start, start + batchSize), logps)));
        }
      }
      examples.forEach((example, i) => how.set(example, numbers[i]));
      this.store.push({ name, content: bytesOf(numbers, size) });
    }
  }

  /** What the run must do for the reference: keep computed numbers in its folder, move the copy. */
  callbacks(policy: Policy): TrainerCallback[] {
    const { syncRefModel, refModelMixupAlpha, refModelSyncSteps } = this.options.args;
    const { learner } = policy;
    if (syncRefModel && !learner.mixReference) throw new EspalierError('unsupported', 'this learner has no reference that could follow the policy', { fix: '`sync_ref_model` false' });
    return [
      {
        onTrainBegin: async ({ outputDir }) => {
          for (const { name, content } of this.store) await writeFileDurably(join(outputDir, name), content);
        },
        onStep: async ({ step }) => {
          if (syncRefModel && step % refModelSyncSteps === 0) await learner.mixReference!(refModelMixupAlpha);
        },
      },
    ];
  }

  /** Closes a model that this opened. */
  async close(): Promise<void> {
    await (await this.own?.catch(() => null))?.close();
  }

  private async open(signal?: AbortSignal): Promise<Policy | null> {
    const { refModel, modelArgs, inline } = this.options;
    if (refModel === undefined) return null;
    const { backend, bf16 } = modelArgs ?? {};
    return (this.own ??= openPolicy(refModel, { modelArgs: { backend, bf16 }, inline, signal }).catch((error: unknown) => {
      this.own = null; // may be tried again
      throw error;
    }));
  }
}

function digestOf<Example>(examples: readonly Example[], how: Precomputed<Example>, what: string): string {
  const hash = createHash('sha256').update(what);
  for (const example of examples) {
    for (const tokens of how.tokens(example)) hash.update(`${tokens.length};`).update(new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength));
  }
  return hash.digest('hex').slice(0, 16);
}

const bytesOf = (numbers: readonly Float32Array[], size: number): Uint8Array => {
  const bytes = new Uint8Array(size * 4);
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const part of numbers) for (const value of part) view.setFloat32(4 * at++, value, true);
  return bytes;
};

/** The numbers of a file, little-endian; null when it is not there or of another size. */
async function readNumbers(path: string, size: number): Promise<Float32Array | null> {
  const bytes = await readFile(path).catch(() => null);
  if (!bytes || bytes.length !== 4 * size) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float32Array.from({ length: size }, (_, i) => view.getFloat32(4 * i, true));
}
