import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { EspalierError } from '@espalier/spec';
import { openSafetensors, writeSafetensors, type Decoder } from '@espalier/models';
import { addInPlace, clone, mul, tensor, tidy, type Variable } from '@espalier/tensor';
import { frozen } from './training';

const fileName = 'ema.safetensors';

/** The exponential moving average of the trainable weights, `ema ← decay · ema + (1 - decay) · θ` after every optimiser step. It starts at the first weights. */
export class Ema {
  /** Whether the decoder holds the average, and this the trained weights. */
  inUse = false;
  private readonly averages: Map<string, Variable>;

  /** @throws EspalierError `bad_config` for a decay outside 0 … 1 */
  constructor(
    private readonly decoder: Decoder,
    private readonly decay: number,
  ) {
    if (!(decay >= 0 && decay < 1)) throw new EspalierError('bad_config', `ema.decay is ${decay}`, { fix: 'a number from 0 to below 1; 0.999 is usual' });
    this.averages = new Map([...decoder.trainable].map(([name, parameter]) => [name, copyOf(parameter)]));
  }

  update(): void {
    for (const [name, parameter] of this.decoder.trainable) {
      const average = this.averages.get(name)!;
      const next = tidy(() => addInPlace(mul(average, this.decay), parameter, 1 - this.decay));
      average.assign(next);
      next.dispose();
    }
  }

  /** Puts the average in the place of the trained weights, or back. */
  use(on: boolean): void {
    if (this.inUse === on) return;
    for (const [name, parameter] of this.decoder.trainable) {
      const average = this.averages.get(name)!;
      const held = clone(parameter);
      parameter.assign(average);
      average.assign(held);
      held.dispose();
    }
    this.inUse = on;
  }

  save(dir: string): void {
    const entries = [...this.averages].map(([name, average]) => ({ name, shape: average.shape, data: () => average.dataSync() as Float32Array }));
    writeSafetensors(join(dir, fileName), entries, { metadata: { format: 'espalier-ema', decay: String(this.decay) } });
  }

  /**
   * What {@link save} wrote, checked and read. A folder without it starts the average at the weights that are loaded.
   * @throws EspalierError `bad_checkpoint` when it does not belong to these parameters
   */
  open(dir: string): { restore(): void } {
    const path = join(dir, fileName);
    if (!existsSync(path)) return { restore: () => this.restore((name) => this.decoder.trainable.get(name)!.dataSync() as Float32Array) };
    const file = openSafetensors(path);
    try {
      for (const [name, { shape }] of this.averages) {
        const there = file.tensors.get(name)?.shape;
        if (there?.join() !== shape.join()) throw new EspalierError('bad_checkpoint', `${path}: ${name} is ${there ? `[${there.join(', ')}]` : 'absent'} there and [${shape.join(', ')}] here`);
      }
      const stored = new Map([...this.averages.keys()].map((name) => [name, file.read(name)]));
      return { restore: () => this.restore((name) => stored.get(name)!) };
    } finally {
      file.close();
    }
  }

  dispose(): void {
    for (const average of this.averages.values()) average.dispose();
  }

  private restore(values: (name: string) => Float32Array): void {
    for (const [name, average] of this.averages) {
      const loaded = tensor(values(name).slice(), average.shape, 'float32');
      average.assign(loaded);
      loaded.dispose();
    }
  }
}

/** A frozen variable with numbers of its own: optimisers write in place. */
const copyOf = (parameter: Variable) => frozen(tensor((parameter.dataSync() as Float32Array).slice(), parameter.shape, 'float32'));
