/** What a checkpoint says about one tensor. */
export interface StoredTensor {
  /** Name under Hugging Face's convention, as in `model.layers.0.self_attn.q_proj.weight`. */
  readonly name: string;
  /** Row-major, outermost dimension first. `[]` is a scalar. */
  readonly shape: readonly number[];
  /** How the file holds it: `float32`, `bfloat16`, `q4_1` … Reads always give fp32. */
  readonly dtype: string;
}

/**
 * Named tensors that can be read one at a time. A checkpoint on disk is one (nothing is read before `read`), and so is a set of arrays in memory.
 * Reading is synchronous: it happens on the engine's thread while a model is built, in chunks of a few megabytes straight into the destination.
 *
 * @example
 * for (const { name, shape } of source.tensors.values()) variables.set(name, variable(tensor(source.read(name), shape)));
 */
export interface WeightSource {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /**
   * The tensor in fp32. With `into` (of exactly the tensor's size) it is written there, and `into` is returned.
   * @throws EspalierError `not_found` for a name that is not here, `bad_checkpoint` when the file is shorter than it claimed, `io` when reading fails.
   */
  read(name: string, into?: Float32Array): Float32Array;
}

/** Tensors held in memory as a {@link WeightSource}: for tests and for models made from nothing. */
export function weightsInMemory(entries: Iterable<{ name: string; shape: readonly number[]; data: Float32Array }>): WeightSource {
  const held = new Map([...entries].map((entry) => [entry.name, entry]));
  return {
    tensors: new Map([...held.values()].map(({ name, shape }) => [name, { name, shape, dtype: 'float32' }])),
    read(name, into) {
      const entry = held.get(name);
      if (!entry) throw new Error(`no tensor named ${name}`);
      if (!into) return entry.data.slice();
      into.set(entry.data);
      return into;
    },
  };
}
